-- Writes one result to a stream that a user named, once for each end of a request.
--
-- A dead letter that is replayed under its own id ends again, on a later leg; its first end may be
-- told when that has begun already.
--
-- Touches  KEYS[1]                 the user's stream: absent or a stream, else nothing is written
--          {prefix}:request:{id}   callback: what became of it; callback_leg: of the end on which leg
-- ARGV     prefix, id, event, most entries, leg, then names and values of further fields of the entry
-- Returns  "written", "repeated", or why not
local record = ARGV[1] .. ':request:' .. ARGV[2]
if tonumber(redis.call('HGET', record, 'callback_leg') or '0') >= tonumber(ARGV[5]) then return 'repeated' end
local kind = redis.call('TYPE', KEYS[1]).ok
local said = 'written'
if kind ~= 'none' and kind ~= 'stream' then
  said = 'the key holds a ' .. kind .. ', not a stream'
else
  redis.call('DEL', ARGV[1] .. ':nothing')
  local added = redis.pcall('XADD', KEYS[1], 'MAXLEN', '~', ARGV[4], '*', 'event', ARGV[3], unpack(ARGV, 6))
  if type(added) == 'table' then said = added.err end
end
if redis.call('EXISTS', record) == 1 then redis.call('HSET', record, 'callback', said, 'callback_leg', ARGV[5]) end
return said
