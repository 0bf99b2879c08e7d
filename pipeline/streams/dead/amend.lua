-- Puts a changed letter in the place of a dead letter; it goes to the end and is kept anew from now.
--
-- Touches  {prefix}:dead        one entry added, the old one deleted
--          {prefix}:body:{id}   where the body is too large to travel
-- ARGV     prefix, entry id, request id, event, notes, "inline" or "kept" or the large body, seconds to keep it
-- Returns  the new entry's id, "" when the letter has gone, or an error text
local prefix, letter, id = ARGV[1], ARGV[2], ARGV[3]
local dead, body = prefix .. ':dead', prefix .. ':body:' .. id
if #redis.call('XRANGE', dead, letter, letter) == 0 then return '' end
local at = redis.pcall('XADD', dead, '*', 'event', ARGV[4], 'id', id, 'edits', ARGV[5])
if type(at) == 'table' then return at.err end
redis.call('XDEL', dead, letter)
if ARGV[6] == 'inline' then
  redis.call('DEL', body)
elseif ARGV[6] == 'kept' then
  redis.call('EXPIRE', body, ARGV[7])
else
  redis.call('SET', body, ARGV[6], 'EX', ARGV[7])
end
return at
