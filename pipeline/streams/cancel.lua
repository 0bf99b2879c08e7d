-- Cancels a request that has not ended, wherever it is.
--
-- One that waits or is on a rung goes to the gate, marked: it ends there. Whatever else is to be
-- appended for it before its call is marked by the transition, and a call under way is ended by
-- its worker, which looks when the counter has changed.
--
-- Touches  {prefix}:request:{id}     cancel; rung, rung_entry, due
--          {prefix}:parked           who waits is taken out
--          {prefix}:rung:{seconds}   and so is who has climbed
--          {prefix}:gate             where both are appended
--          {prefix}:cancels          counter of requests cancelled
-- ARGV     prefix, id, reason
-- Returns  1 cancelled, 0 ended before, -1 unknown
local MONTH_S = 2592000
local prefix, id = ARGV[1], ARGV[2]
local record = prefix .. ':request:' .. id
local ENDED = {completed = true, failed = true, cancelled = true}
local known = redis.call('HMGET', record, 'status', 'rung', 'rung_entry')
if not known[1] then return -1 end
if ENDED[known[1]] then return 0 end

-- A write that needs no memory lets the next ones pass when Redis is full.
redis.call('DEL', prefix .. ':nothing')
redis.call('HSET', record, 'cancel', ARGV[3])
-- Transitions look for marks as long as it is there.
redis.call('INCR', prefix .. ':cancels')
redis.call('EXPIRE', prefix .. ':cancels', MONTH_S)

local function end_at_gate(event)
  redis.call('XADD', prefix .. ':gate', '*', 'event', event, 'cancelled', 1)
end

local parked = redis.call('HGET', prefix .. ':parked', id)
if parked then
  end_at_gate(parked)
  redis.call('HDEL', prefix .. ':parked', id)
elseif known[3] then
  local stream = prefix .. ':rung:' .. known[2]
  local row = redis.call('XRANGE', stream, known[3], known[3])[1]
  if row then
    for f = 1, #row[2], 2 do
      if row[2][f] == 'event' then end_at_gate(row[2][f + 1]) end
    end
    redis.call('XDEL', stream, known[3])
  end
  redis.call('HDEL', record, 'rung', 'rung_entry', 'due')
end
return 1
