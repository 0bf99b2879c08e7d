-- Admits events to deployments: leases on capacity, keys in rotation, and a queue for the rest.
--
-- A ticket stands for one event in one leg. Asking twice for a ticket gives the same lease.
--
-- Touches (all with the prefix of the limits, which have a tag of their own)
--   {limits}:lease:{deployment}   sorted set of tickets by the time their lease runs out, in ms
--   {limits}:leases               hash ticket → "key deployment"
--   {limits}:turns                hash deployment → how often a key was given out
--   {limits}:rooms                set of rooms in which somebody waits
--   {limits}:room:{room}          sorted set of waiting tickets by arrival
--   {limits}:plans                hash room → its candidates: deployment, concurrency, keys …
--   {limits}:arrivals             counter
--   {limits}:deadlines            sorted set of waiting tickets by their deadline, in ms
--   {limits}:where                hash waiting ticket → room
--   {limits}:runs                 hash ticket → generation of its call, where that is not the first
--   KEYS[1]                       {limits}
--   KEYS[2]                       the virtual clock's offset, absent outside tests
-- ARGV     lease ttl in ms, verb, then
--   admit   for each event: ticket, deadline in ms or 0, room, n, then n times deployment, concurrency, keys
--   settle  tickets to release, each followed by the generation of the call that does so; without
--           any it is a sweep
--   renew   tickets, each followed by "key deployment" and the generation of the call
--   resume  one of the same, which is renewed only if its lease is still there
-- Returns  {answers, tickets woken}; an answer to admit is "key deployment", or "" for wait; to
--          resume, 1 if the lease was there
local L, ttl, verb = KEYS[1], tonumber(ARGV[1]), ARGV[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + 1000 * tonumber(redis.call('GET', KEYS[2]) or '0')
local answers, woken = {}, {}
-- A write that needs no memory lets those after it pass when Redis is full.
redis.call('DEL', L .. ':nothing')

-- A call that was run again holds the ticket; the late end of the run before changes nothing.
local function is_late(ticket, generation)
  return tonumber(redis.call('HGET', L .. ':runs', ticket) or '0') > tonumber(generation)
end

local function used(deployment)
  local leases = L .. ':lease:' .. deployment
  for _, ticket in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', 0, 100)) do
    redis.call('ZREM', leases, ticket)
    redis.call('HDEL', L .. ':leases', ticket)
    redis.call('HDEL', L .. ':runs', ticket)
  end
  return redis.call('ZCARD', leases)
end

local function lease(ticket, plan)
  for i = 1, #plan, 3 do
    local deployment, concurrency, keys = plan[i], tonumber(plan[i + 1]), tonumber(plan[i + 2])
    if concurrency == 0 or used(deployment) < concurrency then
      local key = 0
      if keys > 1 then key = (redis.call('HINCRBY', L .. ':turns', deployment, 1) - 1) % keys end
      local held = string.format('%d %s', key, deployment)
      if concurrency > 0 then
        redis.call('ZADD', L .. ':lease:' .. deployment, now + ttl, ticket)
        redis.call('HSET', L .. ':leases', ticket, held)
      end
      return held
    end
  end
  return nil
end

local function leave(ticket, room)
  redis.call('ZREM', L .. ':room:' .. room, ticket)
  redis.call('ZREM', L .. ':deadlines', ticket)
  redis.call('HDEL', L .. ':where', ticket)
end

local function serve(room)
  local plan = cmsgpack.unpack(redis.call('HGET', L .. ':plans', room) or cmsgpack.pack({}))
  while true do
    local head = redis.call('ZRANGE', L .. ':room:' .. room, 0, 0)[1]
    if not head then
      redis.call('SREM', L .. ':rooms', room)
      redis.call('HDEL', L .. ':plans', room)
      return
    end
    if not lease(head, plan) then return end
    leave(head, room)
    woken[#woken + 1] = head
  end
end

local function wait(ticket, deadline, room, plan)
  redis.call('HSET', L .. ':plans', room, cmsgpack.pack(plan))
  redis.call('SADD', L .. ':rooms', room)
  redis.call('ZADD', L .. ':room:' .. room, 'NX', redis.call('INCR', L .. ':arrivals'), ticket)
  redis.call('HSET', L .. ':where', ticket, room)
  if deadline > 0 then redis.call('ZADD', L .. ':deadlines', deadline, ticket) end
end

local function admit(ticket, deadline, room, plan)
  local held = redis.call('HGET', L .. ':leases', ticket)
  if held then
    -- It may have run out while its event was on the way here; whoever collects it has it whole.
    redis.call('ZADD', L .. ':lease:' .. string.match(held, '^%d+ (.*)$'), now + ttl, ticket)
    return held
  end
  -- Nobody overtakes those who wait: they are served first, and wake those who can go.
  if redis.call('EXISTS', L .. ':room:' .. room) == 1 then
    redis.call('HSET', L .. ':plans', room, cmsgpack.pack(plan))
    serve(room)
    held = redis.call('HGET', L .. ':leases', ticket)
    if held then return held end
  end
  if redis.call('EXISTS', L .. ':room:' .. room) == 0 then held = lease(ticket, plan) end
  if not held then wait(ticket, deadline, room, plan) end
  return held or ''
end

local function release(ticket)
  local room = redis.call('HGET', L .. ':where', ticket)
  if room then leave(ticket, room) end
  local held = redis.call('HGET', L .. ':leases', ticket)
  if held then
    redis.call('HDEL', L .. ':leases', ticket)
    redis.call('HDEL', L .. ':runs', ticket)
    redis.call('ZREM', L .. ':lease:' .. string.match(held, '^%d+ (.*)$'), ticket)
  end
end

local function renew(ticket, held, generation)
  if is_late(ticket, generation) then return end
  redis.call('HSET', L .. ':leases', ticket, held)
  redis.call('HSET', L .. ':runs', ticket, generation)
  redis.call('ZADD', L .. ':lease:' .. string.match(held, '^%d+ (.*)$'), now + ttl, ticket)
end

if verb == 'admit' then
  local i = 3
  while i <= #ARGV do
    local ticket, deadline, room, n = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2], tonumber(ARGV[i + 3])
    local plan = {}
    for p = 1, 3 * n do plan[p] = ARGV[i + 3 + p] end
    i = i + 4 + 3 * n
    answers[#answers + 1] = admit(ticket, deadline, room, plan)
  end
elseif verb == 'settle' then
  for i = 3, #ARGV, 2 do
    if not is_late(ARGV[i], ARGV[i + 1]) then release(ARGV[i]) end
  end
  for _, ticket in ipairs(redis.call('ZRANGEBYSCORE', L .. ':deadlines', '-inf', now, 'LIMIT', 0, 100)) do
    leave(ticket, redis.call('HGET', L .. ':where', ticket) or '')
    woken[#woken + 1] = ticket
  end
  for _, room in ipairs(redis.call('SMEMBERS', L .. ':rooms')) do serve(room) end
elseif verb == 'renew' then
  for i = 3, #ARGV, 3 do renew(ARGV[i], ARGV[i + 1], ARGV[i + 2]) end
elseif verb == 'resume' then
  local there = redis.call('HEXISTS', L .. ':leases', ARGV[3])
  if there == 1 then renew(ARGV[3], ARGV[4], ARGV[5]) end
  answers[1] = there
end
return {answers, woken}
