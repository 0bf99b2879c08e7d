-- Makes the limits of a configuration the ones that hold; what is used of them stays.
--
-- Touches  {limits}:caps, {limits}:due
-- ARGV     pairs of name and limit
-- Returns  how many limits changed
local caps = KEYS[1] .. ':caps'
redis.call('DEL', KEYS[1] .. ':nothing')
local kept, before, changed = {}, {}, 0
local old = redis.call('HGETALL', caps)
for i = 1, #old, 2 do before[old[i]] = old[i + 1] end
for i = 1, #ARGV, 2 do
  kept[ARGV[i]] = true
  if before[ARGV[i]] ~= ARGV[i + 1] then
    redis.call('HSET', caps, ARGV[i], ARGV[i + 1])
    changed = changed + 1
  end
end
for name in pairs(before) do
  if not kept[name] then
    redis.call('HDEL', caps, name)
    changed = changed + 1
  end
end
-- Who waits for what is no longer so scarce is looked for with the next call of admission.
if changed > 0 then
  local waiting = redis.call('ZRANGE', KEYS[1] .. ':due', 0, -1)
  for _, member in ipairs(waiting) do redis.call('ZADD', KEYS[1] .. ':due', 0, member) end
end
return changed
