-- Tells how the rungs of the ladder stand, by the ladder's clock (`ladder.lua`); writes nothing.
--
-- Touches  {prefix}:rungs            which rungs are in use
--          {prefix}:rung:{seconds}   how many wait there, and when the first one is due
--          {prefix}:clock, {prefix}:rungs:clock
-- ARGV     prefix, then rungs to look at although nothing is noted of them, in seconds
-- Returns  {now, lead over Redis's clock}, both in ms, then for each rung in use {seconds, how many
--          wait, when the first one is due in ms}, in no order
local prefix = ARGV[1]
local kept = redis.call('MGET', prefix .. ':clock', prefix .. ':rungs:clock')
local time = redis.call('TIME')
local wall = math.floor(time[1] * 1000 + time[2] / 1000 + 1000 * tonumber(kept[1] or '0'))
local last, lead = string.match(kept[2] or '0 0', '^(%d+) (%d+)$')
local now = math.max(wall + lead, tonumber(last))

local function due_of(row)
  for i = 1, #row[2], 2 do
    if row[2][i] == 'due' then return tonumber(row[2][i + 1]) or 0 end
  end
  return 0
end

local told, seen = {{now, now - wall}}, {}
local function look(rung)
  local stream = prefix .. ':rung:' .. rung
  local head = not seen[rung] and redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
  seen[rung] = true
  if head then told[#told + 1] = {tonumber(rung), redis.call('XLEN', stream), due_of(head)} end
end
for _, rung in ipairs(redis.call('ZRANGE', prefix .. ':rungs', 0, -1)) do look(rung) end
for i = 2, #ARGV do look(ARGV[i]) end
return told
