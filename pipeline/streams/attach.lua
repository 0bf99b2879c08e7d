-- Registers a reader's inbox with a request and reads the reply's past, with no gap between.
--
-- Touches  {prefix}:request:{id}   inboxes
--          {prefix}:reply:{id}     read
-- ARGV     prefix, id, inbox or "", entry id after which to read
-- Returns  nothing when the request is unknown, else {record fields, entries}
local prefix, id, inbox, after = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local record = prefix .. ':request:' .. id
local known = redis.call('HGET', record, 'inboxes')
if not known and redis.call('EXISTS', record) == 0 then return false end
-- One that is to hear the whole response stands there with a `+` behind it.
local listed = ' ' .. string.gsub(known or '', '%+', '') .. ' '
if inbox ~= '' and not string.find(listed, ' ' .. inbox .. ' ', 1, true) then
  -- A write that needs no memory lets the next one pass when Redis is full.
  redis.call('DEL', prefix .. ':nothing')
  redis.call('HSET', record, 'inboxes', (known and known ~= '') and (known .. ' ' .. inbox) or inbox)
end
return {redis.call('HGETALL', record), redis.call('XRANGE', prefix .. ':reply:' .. id, '(' .. after, '+')}
