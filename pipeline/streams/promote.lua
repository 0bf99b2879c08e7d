-- Takes events off their rungs before their time, back to the gate.
--
-- Touches  {prefix}:request:{id}     rung, rung_entry, due
--          {prefix}:rung:{seconds}   the event's entry is deleted
--          {prefix}:gate             and appended here
-- ARGV     prefix, then request ids
-- Returns  how many were on a rung
local prefix = ARGV[1]
local promoted = 0
redis.call('DEL', prefix .. ':nothing')
for i = 2, #ARGV do
  local record = prefix .. ':request:' .. ARGV[i]
  local at = redis.call('HMGET', record, 'rung', 'rung_entry')
  local stream = at[2] and prefix .. ':rung:' .. at[1]
  local row = stream and redis.call('XRANGE', stream, at[2], at[2])[1]
  if row then
    for f = 1, #row[2], 2 do
      if row[2][f] == 'event' then redis.call('XADD', prefix .. ':gate', '*', 'event', row[2][f + 1]) end
    end
    redis.call('XDEL', stream, at[2])
    redis.call('HDEL', record, 'rung', 'rung_entry', 'due')
    promoted = promoted + 1
  end
end
return promoted
