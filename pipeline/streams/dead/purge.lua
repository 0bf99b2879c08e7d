-- Deletes dead letters, and with them the bodies that were kept for them.
--
-- Touches  {prefix}:dead           the letters are deleted
--          {prefix}:request:{id}   read: a request that is under way needs its body
--          {prefix}:body:{id}
-- ARGV     prefix, then for each letter: entry id, request id or ""
-- Returns  how many letters there were
local prefix = ARGV[1]
local ENDED = {completed = true, failed = true, cancelled = true}
local purged = 0
for i = 2, #ARGV, 2 do
  if redis.call('XDEL', prefix .. ':dead', ARGV[i]) == 1 then
    purged = purged + 1
    local status = redis.call('HGET', prefix .. ':request:' .. ARGV[i + 1], 'status')
    if not status or ENDED[status] then redis.call('UNLINK', prefix .. ':body:' .. ARGV[i + 1]) end
  end
end
return purged
