-- Brings parked events back to the gate. One that is not parked yet is marked, and does not park.
--
-- Touches  {prefix}:parked, {prefix}:gate
-- ARGV     prefix, then request ids
local prefix = ARGV[1]
local parked = prefix .. ':parked'
-- A write that needs no memory lets those after it pass when Redis is full.
redis.call('DEL', prefix .. ':nothing')
for i = 2, #ARGV do
  local event = redis.call('HGET', parked, ARGV[i])
  if event and event ~= 'woken' then
    redis.call('XADD', prefix .. ':gate', '*', 'event', event)
    redis.call('HDEL', parked, ARGV[i])
  else
    redis.call('HSET', parked, ARGV[i], 'woken')
  end
end
return #ARGV - 1
