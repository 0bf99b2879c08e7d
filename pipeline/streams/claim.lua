-- Takes over what dead workers left pending; never anything of a living one.
--
-- Touches  {prefix}:workers            consumers that have been seen
--          {prefix}:worker:{consumer}  read: absent means dead
--          {prefix}:pulse, {prefix}:settling   read: whether signs of life can be trusted now
--          {prefix}:rungs:due, {prefix}:cancels, {prefix}:config   read: whether there is anything else to look at
--          the hop streams and their groups
--          {prefix}:counters           claims
-- ARGV     prefix, consumer, most entries, 1 to look for consumers that registered nowhere,
--          most suspects, how many run already, then for each stream: source, group, most entries
-- Returns  {entries claimed: {source, entry id, fields, delivery} each, when the first event on a rung
--          falls due or nothing, how many requests have been cancelled or nothing, the
--          configuration that was published last or nothing}
local prefix, me, most, wide = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1'
local trials, running = tonumber(ARGV[5]), tonumber(ARGV[6])
-- A suspect has been in the hands of so many workers that died. Which of all that they held took
-- them down shows only when suspects are tried a few at a time.
local SUSPECT = 2
local registry = prefix .. ':workers'
local streams = {}
for i = 7, #ARGV, 3 do
  streams[#streams + 1] = {source = ARGV[i], group = ARGV[i + 1], room = tonumber(ARGV[i + 2])}
end

local signs = redis.call(
  'MGET', prefix .. ':pulse', prefix .. ':settling', prefix .. ':rungs:due', prefix .. ':cancels', prefix .. ':config'
)
if not signs[1] or signs[2] then return {{}, signs[3], signs[4], signs[5]} end

local function alive(name)
  return name == me or redis.call('EXISTS', prefix .. ':worker:' .. name) == 1
end

if wide then
  for _, s in ipairs(streams) do
    local consumers = redis.pcall('XINFO', 'CONSUMERS', prefix .. ':' .. s.source, s.group)
    if not consumers.err then
      for _, consumer in ipairs(consumers) do
        if not alive(consumer[2]) then redis.call('SADD', registry, consumer[2]) end
      end
    end
  end
end

local claimed = {}
local function may_run(deliveries)
  if deliveries < SUSPECT then return true end
  if trials < 1 or (deliveries > SUSPECT and running > 0) then return false end
  -- One that has been tried before, and whose worker died again, is tried alone.
  trials = deliveries > SUSPECT and 0 or trials - 1
  running = running + 1
  return true
end

local function claim_row(stream, s, p)
  local entry = p[1]
  local there = redis.call('XRANGE', stream, entry, entry)
  if #there == 0 then
    redis.call('XACK', stream, s.group, entry)
    redis.call('HINCRBY', prefix .. ':counters', 'lost', 1)
  elseif may_run(p[4]) then
    redis.call('XCLAIM', stream, s.group, me, 0, entry)
    s.room = s.room - 1
    claimed[#claimed + 1] = {s.source, entry, there[1][2], p[4] + 1}
  end
end

-- Tells how many entries it saw; without room, one look tells whether any is left for later.
local function claim_from(name, s)
  local stream, start, seen = prefix .. ':' .. s.source, '-', 0
  while true do
    local room = math.min(most - #claimed, s.room)
    local pending = redis.pcall('XPENDING', stream, s.group, start, '+', math.max(room, 1), name)
    if pending.err or #pending == 0 then return seen end
    seen = seen + #pending
    if room < 1 then return seen end
    for _, p in ipairs(pending) do claim_row(stream, s, p) end
    start = '(' .. pending[#pending][1]
  end
end

for _, name in ipairs(redis.call('SMEMBERS', registry)) do
  if not alive(name) then
    local left = 0
    for _, s in ipairs(streams) do
      if #claimed >= most then left = 1 break end
      left = left + claim_from(name, s)
    end
    if left == 0 then
      for _, s in ipairs(streams) do
        redis.pcall('XGROUP', 'DELCONSUMER', prefix .. ':' .. s.source, s.group, name)
      end
      redis.call('SREM', registry, name)
    end
  end
end
if #claimed > 0 then redis.call('HINCRBY', prefix .. ':counters', 'claimed', #claimed) end
return {claimed, signs[3], signs[4], signs[5]}
