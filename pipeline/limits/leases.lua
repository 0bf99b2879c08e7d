-- Candidates and leases: which deployment and key can take a request now, and what a lease holds.
--
-- Touches  {limits}:plan:{room}        the candidates of a room, as its workers made them known
--          {limits}:tickets            hash of tickets
--          {limits}:due:leases         sorted set of tickets by when their lease runs out
--          {limits}:dead               hash of dead keys: since when, why, when to be tried again
-- A ticket stands for one event in one leg, and is a map of
--   state      held: waits for our limits · waiting: in its room · lease: may call, or calls ·
--              between: was called, and is on its way to another candidate · refused
--   room, class, tenant, weight, own, estimate, answer, deadline, order, since   as asked
--   tokens, day, at                what it took of our limits, when, and when it was admitted
--   deployment, key, scopes, taken, taken_day, quota, upstream   its lease
--   generation                     earlier runs of its call no longer count
--   claimed                        whether its event has come for its lease
-- `own` are triples scope, name of its limit, name of the limit for those without one of their own.
local LEASE_MS, UNCLAIMED_MS = 60000, 15000

local plans, tickets = {}, {}
local visits = 0
local MOST_VISITS = 1000

local function plan_of(room)
  if plans[room] == nil then
    local packed = redis.call('GET', L .. ':plan:' .. room)
    plans[room] = packed and cmsgpack.unpack(packed) or false
  end
  return plans[room]
end

local function ticket_of(id)
  if tickets[id] == nil then
    local packed = redis.call('HGET', L .. ':tickets', id)
    tickets[id] = packed and cmsgpack.unpack(packed) or false
  end
  return tickets[id]
end

local function keep(id, ticket)
  tickets[id] = ticket
  redis.call('HSET', L .. ':tickets', id, cmsgpack.pack(ticket))
end

local function forget(id)
  tickets[id] = false
  redis.call('HDEL', L .. ':tickets', id)
  redis.call('ZREM', L .. ':due:leases', id)
end

local dead_keys
local function is_dead(key)
  if not dead_keys then
    dead_keys = {}
    local found = redis.call('HGETALL', L .. ':dead')
    for i = 1, #found, 2 do dead_keys[found[i]] = cmsgpack.unpack(found[i + 1]) end
  end
  local dead = dead_keys[key]
  return dead and dead[3] > now
end

-- The scopes of a provider that a request of a class has to fit into: those given, and of each the
-- part that classes with a reserved share leave to the others.
local function with_shares(scopes, reserved, class)
  if #reserved == 0 then return scopes end
  local all = {unpack(scopes)}
  for _, other in ipairs(reserved) do
    if other ~= class then
      for i = 1, #scopes, 2 do
        all[#all + 1] = scopes[i] .. '!' .. other
        all[#all + 1] = scopes[i + 1] .. '!' .. other
      end
    end
  end
  return all
end

local function fetch_candidates(plan, first, class)
  local names, scopes = {}, {}
  for i = first, math.min(#plan.candidates, first + 7) do
    local candidate = plan.candidates[i]
    for k = 0, #candidate.keys do
      local of = k == 0 and candidate.scopes or candidate.keys[k].scopes
      local all = with_shares(of, plan.reserved, class)
      for s = 1, #all, 2 do
        scopes[#scopes + 1] = all[s]
        names[#names + 1] = all[s + 1]
      end
    end
  end
  fetch(names, scopes)
end

local function tokens_on(candidate, ticket)
  local use = use_of(candidate.scopes[1])
  local answer = ticket.answer
  if answer <= 0 then answer = use[ANSWER] > 0 and use[ANSWER] or 500 end
  return math.ceil(ticket.estimate * (use[RATIO] > 0 and use[RATIO] or 1) + answer)
end

local function longest(scopes, n, wait, why, by_size)
  for i = 1, #scopes, 2 do
    local ms, reason, sized = theirs(scopes[i], scopes[i + 1], n)
    if ms > wait then
      by_size = sized and (wait == 0 or by_size)
      wait, why = ms, reason
    elseif ms > 0 and not sized then
      by_size = false
    end
  end
  return wait, why, by_size
end

-- Whether a candidate can take a ticket: gives ms until then, why, whether only its size stands
-- in the way, the key to use and the tokens to take.
local function fits(candidate, plan, ticket)
  visits = visits + 1
  local use, n = use_of(candidate.scopes[1]), tokens_on(candidate, ticket)
  local wait, why, by_size = 0, '', true
  if use[HOLDER] ~= '' and use[HOLDER] ~= ticket.room and use[HELD_UNTIL] > now then
    wait, why, by_size = use[HELD_UNTIL] - now, 'held', false
  end
  wait, why, by_size = longest(with_shares(candidate.scopes, plan.reserved, ticket.class), n, wait, why, by_size)
  local best, best_why, best_sized, best_key = NEVER, 'dead', false, nil
  for turn = 0, #candidate.keys - 1 do
    local key = candidate.keys[(use[TURN] + turn) % #candidate.keys + 1]
    if not is_dead(key.id) then
      local ms, reason, sized = longest(with_shares(key.scopes, plan.reserved, ticket.class), n, 0, '', true)
      if not best_key or ms < best then best, best_why, best_sized, best_key = ms, reason, sized, key end
      if ms == 0 then break end
    end
  end
  if not best_key then return NEVER, 'dead', false end
  if best > wait then
    by_size = best_sized and (wait == 0 or by_size)
    wait, why = best, best_why
  elseif best > 0 and not best_sized then
    by_size = false
  end
  return wait, why, by_size, best_key, n
end

local function load_of(candidate)
  local use, cap = use_of(candidate.scopes[1]), cap_of(candidate.scopes[2])
  local concurrency = least(cap[CONCURRENCY], use[FOUND_CONCURRENCY])
  return concurrency > 0 and use[LEASES] / concurrency or use[LEASES] / 1000
end

-- Chooses for a ticket: gives the candidate, key and tokens; or nothing, the ms until one may fit,
-- why the last one did not, whether a smaller request might have fitted, and the candidate that
-- fits soonest. "dead" and "heavy" are the reason only where they are that of all.
local function choose(plan, ticket)
  local best, best_key, best_n, best_load
  local soonest, reason, sized, nearest = NEVER, nil, false, nil
  for i, candidate in ipairs(plan.candidates) do
    if best and candidate.rank > best.rank then break end
    if i % 8 == 1 then fetch_candidates(plan, i, ticket.class) end
    local wait, why, by_size, key, n = fits(candidate, plan, ticket)
    if wait == 0 then
      local load = load_of(candidate)
      if not best or load < best_load then best, best_key, best_n, best_load = candidate, key, n, load end
    else
      if not reason or reason == 'dead' or (reason == 'heavy' and why ~= 'dead') then reason = why end
      if why ~= 'heavy' then sized = sized or by_size end
      if wait < soonest then soonest, nearest = wait, candidate end
    end
  end
  if best then return best, best_key, best_n end
  return nil, soonest, reason or 'dead', sized, nearest
end

-- Gives a ticket a lease on a candidate.
local function grant(id, ticket, candidate, key, n, claimed)
  local plan = plan_of(ticket.room)
  local scopes = {}
  for _, of in ipairs({candidate.scopes, key.scopes}) do
    local all = with_shares(of, plan.reserved, ticket.class)
    for i = 1, #all, 2 do
      take_theirs(all[i], all[i + 1], n)
      scopes[#scopes + 1] = all[i]
      scopes[#scopes + 1] = all[i + 1]
    end
  end
  local use = use_of(candidate.scopes[1])
  use[TURN] = (use[TURN] + 1) % 5040
  if use[HOLDER] == ticket.room then use[HOLDER] = '' end
  local dead = dead_keys and dead_keys[key.id]
  if dead then
    dead[3] = now + PROBE_MS
    redis.call('HSET', L .. ':dead', key.id, cmsgpack.pack(dead))
  end
  if ticket.at == 0 then
    for i = 1, #ticket.own, 2 do admit_ours(ticket.own[i], cap_of(ticket.own[i + 1]), id, ticket.tokens) end
    ticket.at = now
  end
  ticket.state, ticket.claimed = 'lease', claimed
  ticket.deployment, ticket.key, ticket.scopes = candidate.deployment, key.id, scopes
  ticket.taken, ticket.taken_day, ticket.quota, ticket.upstream = n, today, candidate.quota, candidate.upstream
  if candidate.quota == '' then ticket.quota = key.scopes[1] end
  keep(id, ticket)
  redis.call('ZADD', L .. ':due:leases', now + (claimed and LEASE_MS or UNCLAIMED_MS), id)
end

-- Ends the lease of a ticket; `used` are the tokens that its call is known to have used, nil where
-- it may have used all it took.
local function end_lease(ticket, used, was_sent)
  local more = used and used - ticket.taken or 0
  for i = 1, #ticket.scopes, 2 do
    return_theirs(ticket.scopes[i], ticket.scopes[i + 1], more, ticket.taken_day, was_sent)
  end
end

-- Ends what a ticket holds of our limits.
local function end_own(id, ticket, used, counts)
  for i = 1, #ticket.own, 2 do
    settle_ours(ticket.own[i], cap_of(ticket.own[i + 1]), id, ticket.tokens, used, counts, ticket.at, ticket.day)
  end
end
