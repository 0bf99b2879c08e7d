-- Brings parked events back to the gate. One that is not parked yet is marked, and does not park.
--
-- Touches  {prefix}:parked, {prefix}:woken, {prefix}:gate
-- ARGV     prefix, the time in Unix seconds, then request ids
local prefix = ARGV[1]
local parked = prefix .. ':parked'
-- A write that needs no memory lets those after it pass when Redis is full.
redis.call('DEL', prefix .. ':nothing')
for i = 3, #ARGV do
  local event = redis.call('HGET', parked, ARGV[i])
  if event then
    redis.call('XADD', prefix .. ':gate', '*', 'event', event)
    redis.call('HDEL', parked, ARGV[i])
  else
    redis.call('HSET', prefix .. ':woken', ARGV[i], ARGV[2])
  end
end
return #ARGV - 2
