-- Takes over what dead workers left pending; never anything of a living one.
--
-- Touches  {prefix}:workers            consumers that have been seen
--          {prefix}:worker:{consumer}  read: absent means dead
--          {prefix}:pulse, {prefix}:settling   read: whether signs of life can be trusted now
--          the hop streams and their groups
--          {prefix}:counters           claims
-- ARGV     prefix, consumer, most entries, 1 to look for consumers that registered nowhere,
--          then for each stream: source, group
-- Returns  entries claimed: {source, entry id, fields, delivery} each
local prefix, me, most, wide = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1'
local registry = prefix .. ':workers'
local streams = {}
for i = 5, #ARGV, 2 do streams[#streams + 1] = {ARGV[i], ARGV[i + 1]} end

if redis.call('EXISTS', prefix .. ':pulse') == 0 or redis.call('EXISTS', prefix .. ':settling') == 1 then
  return {}
end

local function alive(name)
  return name == me or redis.call('EXISTS', prefix .. ':worker:' .. name) == 1
end

if wide then
  for _, s in ipairs(streams) do
    local consumers = redis.pcall('XINFO', 'CONSUMERS', prefix .. ':' .. s[1], s[2])
    if not consumers.err then
      for _, consumer in ipairs(consumers) do
        if not alive(consumer[2]) then redis.call('SADD', registry, consumer[2]) end
      end
    end
  end
end

local claimed = {}
local function claim_from(name, source, group)
  local stream = prefix .. ':' .. source
  local pending = redis.pcall('XPENDING', stream, group, '-', '+', most - #claimed, name)
  if pending.err then return 0 end
  for _, p in ipairs(pending) do
    local entry = p[1]
    local there = redis.call('XRANGE', stream, entry, entry)
    if #there == 0 then
      redis.call('XACK', stream, group, entry)
      redis.call('HINCRBY', prefix .. ':counters', 'lost', 1)
    else
      redis.call('XCLAIM', stream, group, me, 0, entry)
      claimed[#claimed + 1] = {source, entry, there[1][2], p[4] + 1}
    end
  end
  return #pending
end

for _, name in ipairs(redis.call('SMEMBERS', registry)) do
  if not alive(name) then
    local left = 0
    for _, s in ipairs(streams) do
      if #claimed >= most then left = 1 break end
      left = left + claim_from(name, s[1], s[2])
    end
    if left == 0 then
      for _, s in ipairs(streams) do
        redis.pcall('XGROUP', 'DELCONSUMER', prefix .. ':' .. s[1], s[2], name)
      end
      redis.call('SREM', registry, name)
    end
  end
end
if #claimed > 0 then redis.call('HINCRBY', prefix .. ':counters', 'claimed', #claimed) end
return claimed
