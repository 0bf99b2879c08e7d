-- The ladder's clock: Redis's, but never back; what of a step back it missed is what it was not
-- asked in between. Every script that puts events on rungs, or takes them off, goes by it.
--
-- Touches  {prefix}:clock         the virtual clock's offset in seconds, absent outside tests
--          {prefix}:rungs:clock   its last reading, and its lead over Redis's clock
--          {prefix}:rungs         the rungs in use, by when their first event falls due
--          {prefix}:rungs:due     the earliest of them; absent: no rung is in use
local function read_ladder_clock(prefix)
  local kept = redis.call('MGET', prefix .. ':clock', prefix .. ':rungs:clock')
  local time = redis.call('TIME')
  local wall = math.floor(time[1] * 1000 + time[2] / 1000 + 1000 * tonumber(kept[1] or '0'))
  local last, lead = string.match(kept[2] or '0 0', '^(%d+) (%d+)$')
  local now = wall + lead
  if now < tonumber(last) then
    lead = lead + last - now
    now = tonumber(last)
  end
  redis.call('SET', prefix .. ':rungs:clock', string.format('%.0f %.0f', now, lead))
  return now, wall
end

-- Notes when the ladder is to be looked at next; gives that time, or nothing.
local function note_earliest(prefix)
  local first = redis.call('ZRANGE', prefix .. ':rungs', 0, 0, 'WITHSCORES')
  if not first[1] then
    redis.call('DEL', prefix .. ':rungs:due')
    return nil
  end
  redis.call('SET', prefix .. ':rungs:due', first[2])
  return tonumber(first[2])
end

