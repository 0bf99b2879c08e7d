-- Writes one result to a stream that a user named, once for each request.
--
-- Touches  KEYS[1]                 the user's stream: absent or a stream, else nothing is written
--          {prefix}:request:{id}   callback: what became of it
-- ARGV     prefix, id, event, most entries
-- Returns  "written", "repeated", or why not
local record = ARGV[1] .. ':request:' .. ARGV[2]
if redis.call('HGET', record, 'callback') then return 'repeated' end
local kind = redis.call('TYPE', KEYS[1]).ok
local said = 'written'
if kind ~= 'none' and kind ~= 'stream' then
  said = 'the key holds a ' .. kind .. ', not a stream'
else
  redis.call('DEL', ARGV[1] .. ':nothing')
  local added = redis.pcall('XADD', KEYS[1], 'MAXLEN', '~', ARGV[4], '*', 'event', ARGV[3])
  if type(added) == 'table' then said = added.err end
end
if redis.call('EXISTS', record) == 1 then redis.call('HSET', record, 'callback', said) end
return said
