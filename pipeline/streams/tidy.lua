-- Deletes what a hop's stream still holds of entries that were read and acknowledged.
--
-- A transition deletes what it acknowledges; but a Redis that was killed has come back (6.2, under
-- load) with some of them, acknowledged and not deleted.
--
-- Touches  {prefix}:{hop}
-- ARGV     prefix, then hops
-- Returns  how many were deleted
local deleted = 0
for i = 2, #ARGV do
  local hop = ARGV[i]
  local stream = ARGV[1] .. ':' .. hop
  if redis.call('XLEN', stream) > 0 then
    local last
    for _, group in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
      for f = 1, #group, 2 do
        if group[f] == 'name' and group[f + 1] ~= hop then break end
        if group[f] == 'last-delivered-id' then last = group[f + 1] end
      end
    end
    if last then
      local oldest = redis.call('XPENDING', stream, hop, '-', '+', 1)[1]
      local ms, sequence = string.match(last, '^(%d+)-(%d+)$')
      local first_kept = oldest and oldest[1] or string.format('%s-%.0f', ms, sequence + 1)
      deleted = deleted + redis.call('XTRIM', stream, 'MINID', '=', first_kept)
    end
  end
end
return deleted
