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
--   deployment, key, scopes, granted, taken, taken_day, quota, upstream   its lease
--   generation                     earlier runs of its call no longer count
--   claimed                        whether its event has come for its lease
-- `own` are triples scope, name of its limit, name of the limit for those without one of their own.
local LEASE_MS, UNCLAIMED_MS = 60000, 15000
-- Tokens of an answer before any was counted.
local UNKNOWN_ANSWER = 256

-- Tickets that changed, and those whose lease runs out at another time (false: no more).
local kept, ends = {}, {}
local plans, tickets = {}, {}
-- What a call does is counted in µs as they were measured, on the safe side; what is beyond MOST it
-- leaves to the next: to end, let go or grant a ticket; to unpack and fetch a candidate, to look at it, and to
-- look again while it is as it was.
local spent = 0
local MOST_US = 1400
local TICKET_US, GRANT_US, UNPACK_US, FETCH_US, LOOK_US, KNOWN_US = 10, 20, 1, 3, 2, 0.5

local function plan_of(room)
  if plans[room] == nil then
    local packed = redis.call('GET', L .. ':plan:' .. room)
    plans[room] = false
    if packed then
      local offset, plan = cmsgpack.unpack_one(packed)
      plan.packed, plan.offset, plan.candidates, plan.ready = packed, offset, {}, {{}, {}, {}}
      plans[room] = plan
    end
  end
  return plans[room]
end

-- Unpacks the candidates up to the one with this number; they come in eights.
local function unpack_candidates(plan, last)
  local candidates = plan.candidates
  while #candidates < last do
    local eight
    spent = spent + 8 * UNPACK_US
    plan.offset, eight = cmsgpack.unpack_one(plan.packed, plan.offset)
    for _, candidate in ipairs(eight) do candidates[#candidates + 1] = candidate end
  end
  return candidates
end

local function ticket_of(id)
  if tickets[id] == nil then
    local packed = redis.call('HGET', L .. ':tickets', id)
    tickets[id] = packed and cmsgpack.unpack(packed) or false
  end
  return tickets[id]
end

local function keep(id, ticket)
  tickets[id], kept[id] = ticket, true
end

local function forget(id)
  tickets[id], kept[id], ends[id] = false, true, false
end

local function save_tickets()
  local set, gone, at, no_more = {}, {}, {}, {}
  for id in pairs(kept) do
    if tickets[id] then
      set[#set + 1] = id
      set[#set + 1] = cmsgpack.pack(tickets[id])
    else
      gone[#gone + 1] = id
    end
  end
  for id, ms in pairs(ends) do
    if ms then
      at[#at + 1] = ms
      at[#at + 1] = id
    else
      no_more[#no_more + 1] = id
    end
  end
  call_many('HSET', L .. ':tickets', set)
  call_many('HDEL', L .. ':tickets', gone)
  call_many('ZADD', L .. ':due:leases', at)
  call_many('ZREM', L .. ':due:leases', no_more)
end

local dead_keys
-- Whether one of them became another: all who wait may be concerned.
local keys_changed = false
-- The number of the change (`edits`) with which one of them last became another.
local dead_edit = 0
local function dead_of(key)
  if not dead_keys then
    dead_keys = {}
    local found = redis.call('HGETALL', L .. ':dead')
    for i = 1, #found, 2 do dead_keys[found[i]] = cmsgpack.unpack(found[i + 1]) end
  end
  return dead_keys[key]
end

local function is_dead(key)
  local dead = dead_of(key)
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

-- What is known of a candidate for a class, as of the change numbered `at`: it is FREE for requests
-- up to so many tokens; or those from LOW to HIGH tokens have to WAIT, and not for their size.
local function known_of(candidate, plan, class)
  local known = candidate[class]
  if known then return known end
  known = candidate
  if #plan.reserved > 0 then
    known = {scopes = with_shares(candidate.scopes, plan.reserved, class), keys = {}}
    for k, key in ipairs(candidate.keys) do known.keys[k] = {scopes = with_shares(key.scopes, plan.reserved, class)} end
  end
  known.at = -1
  candidate[class] = known
  return known
end

local function is_current(known)
  local at = known.at
  if at == edits then return true end
  if dead_edit > at then return false end
  for i = 1, #known.scopes, 2 do
    if (changed[known.scopes[i]] or 0) > at then return false end
  end
  for k = 1, #known.keys do
    local scopes = known.keys[k].scopes
    for i = 1, #scopes, 2 do
      if (changed[scopes[i]] or 0) > at then return false end
    end
  end
  return true
end

local function fetch_candidates(plan, first, class)
  if plan.ready[class][first] then return end
  plan.ready[class][first] = true
  local last = math.min(plan.size, first + 7)
  local candidates = unpack_candidates(plan, last)
  local names, scopes = {}, {}
  for i = first, last do
    local known = known_of(candidates[i], plan, class)
    for k = 0, #known.keys do
      local all = k == 0 and known.scopes or known.keys[k].scopes
      for s = 1, #all, 2 do
        scopes[#scopes + 1] = all[s]
        names[#names + 1] = all[s + 1]
      end
    end
  end
  spent = spent + FETCH_US * (last - first + 1)
  fetch(names, scopes)
end

-- The tokens to reserve for an answer: as many as the client allows, else what answers have in the
-- mean; none where there is no text to answer with.
local function answer_tokens(ticket, mean)
  if ticket.answer ~= 0 then return math.max(0, ticket.answer) end
  return mean > 0 and math.ceil(mean) or UNKNOWN_ANSWER
end

local function tokens_on(candidate, ticket)
  local scope = candidate.scopes[1]
  local use = uses[scope] or use_of(scope)
  return math.ceil(ticket.estimate * (use[RATIO] > 0 and use[RATIO] or 1)) + answer_tokens(ticket, use[ANSWER])
end

local function longest(scopes, n, wait, why, by_size)
  for i = 1, #scopes, 2 do
    local ms, reason, sized = theirs(scopes[i], scopes[i + 1], n)
    if ms > wait or reason == 'heavy' then
      by_size = sized and (wait == 0 or by_size)
      wait, why = ms, reason
    elseif ms > 0 and not sized then
      by_size = false
    end
  end
  return wait, why, by_size
end

local function judge(candidate, known, ticket, n)
  local use = use_of(candidate.scopes[1])
  local wait, why, by_size = 0, '', true
  if use[HOLDER] ~= '' and use[HOLDER] ~= ticket.room and use[HELD_UNTIL] > now then
    wait, why, by_size = use[HELD_UNTIL] - now, 'held', false
  end
  wait, why, by_size = longest(known.scopes, n, wait, why, by_size)
  local best, best_why, best_sized, best_key = NEVER, 'dead', false, nil
  for turn = 0, #candidate.keys - 1 do
    local k = (use[TURN] + turn) % #candidate.keys + 1
    local key = candidate.keys[k]
    if not is_dead(key.id) then
      local ms, reason, sized = longest(known.keys[k].scopes, n, 0, '', true)
      if not best_key or ms < best then best, best_why, best_sized, best_key = ms, reason, sized, key end
      if ms == 0 then break end
    end
  end
  if not best_key then return NEVER, 'dead', false end
  if best > wait or best_why == 'heavy' then
    by_size = best_sized and (wait == 0 or by_size)
    wait, why = best, best_why
  elseif best > 0 and not best_sized then
    by_size = false
  end
  return wait, why, by_size, best_key
end

local function load_of(candidate)
  local use, cap = use_of(candidate.scopes[1]), cap_of(candidate.scopes[2])
  local concurrency = least(cap[CONCURRENCY], use[FOUND_CONCURRENCY])
  return concurrency > 0 and use[LEASES] / concurrency or use[LEASES] / 1000
end

-- Whether a candidate can take a ticket: gives ms until then, why, whether only its size stands
-- in the way, the key to use, the tokens to take, and how busy it is.
local function fits(candidate, plan, ticket)
  local known, n = candidate[ticket.class] or known_of(candidate, plan, ticket.class), tokens_on(candidate, ticket)
  if not is_current(known) then
    known.free, known.low, known.high = -1, NEVER, -1
  elseif n <= known.free then
    spent = spent + KNOWN_US
    return 0, '', true, known.key, n, known.load
  elseif n >= known.low and n <= known.high then
    spent = spent + KNOWN_US
    return known.wait, known.why, false, known.key, n
  end
  spent = spent + LOOK_US
  known.at = edits
  local wait, why, by_size, key = judge(candidate, known, ticket, n)
  if wait == 0 then
    known.free, known.key, known.load = n, key, load_of(candidate)
  elseif not by_size and why ~= 'heavy' then
    known.wait = known.high >= 0 and math.min(known.wait, wait) or wait
    known.low, known.high, known.why, known.key = math.min(known.low, n), math.max(known.high, n), why, key
  end
  return wait, why, by_size, key, n, known.load
end

-- The numbers of a plan's candidates that some upstreams serve.
local function numbers_of(plan, upstreams)
  local numbers = {}
  for i, candidate in ipairs(unpack_candidates(plan, plan.size)) do
    if upstreams[candidate.upstream] then numbers[#numbers + 1] = i end
  end
  return numbers
end

-- Chooses for a ticket, among the candidates of these numbers if any are given: gives the candidate, key and tokens; or nothing, the ms until one may fit,
-- why the last one did not, whether a smaller request might have fitted, and the candidate that
-- fits soonest. "dead" and "heavy" are the reason only where they are that of all.
local function choose(plan, ticket, numbers)
  local best, best_key, best_n, best_load
  local soonest, reason, sized, nearest, plain = NEVER, numbers and 'busy', false, nil, true
  for nth = 1, numbers and #numbers or plan.size do
    local i = numbers and numbers[nth] or nth
    fetch_candidates(plan, i - (i - 1) % 8, ticket.class)
    local candidate = plan.candidates[i]
    if best and candidate.rank > best.rank then break end
    local wait, why, by_size, key, n, load = fits(candidate, plan, ticket)
    if wait == 0 then
      if not best or load < best_load then best, best_key, best_n, best_load = candidate, key, n, load end
      if load == 0 then break end
    else
      if not reason or reason == 'dead' or (reason == 'heavy' and why ~= 'dead') then reason = why end
      plain = plain and not by_size and why ~= 'heavy'
      if why ~= 'heavy' then sized = sized or by_size end
      if wait < soonest then soonest, nearest = wait, candidate end
    end
  end
  if best then return best, best_key, best_n end
  return nil, soonest, reason or 'dead', sized, nearest, plain
end

-- Tells why a ticket can never be served, if so, as `choose` does.
local function never_fits(plan, ticket)
  local reason = 'dead'
  for i = 1, plan.size do
    if i % 8 == 1 then fetch_candidates(plan, i, ticket.class) end
    local wait, why = fits(plan.candidates[i], plan, ticket)
    if wait == 0 or (why ~= 'dead' and why ~= 'heavy') then return nil end
    if why == 'heavy' then reason = why end
  end
  return reason
end

-- Gives a ticket a lease on a candidate.
local function grant(id, ticket, candidate, key, n, claimed)
  local plan = plan_of(ticket.room)
  local scopes = {}
  spent = spent + GRANT_US
  for turn = 1, 2 do
    local all = with_shares(turn == 1 and candidate.scopes or key.scopes, plan.reserved, ticket.class)
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
    edits = edits + 1
    dead_edit = edits
    redis.call('HSET', L .. ':dead', key.id, cmsgpack.pack(dead))
  end
  if ticket.at == 0 then
    for i = 1, #ticket.own, 2 do admit_ours(ticket.own[i], cap_of(ticket.own[i + 1]), id, ticket.tokens) end
    ticket.at, ticket.day = now, today
  end
  ticket.state, ticket.claimed = 'lease', claimed
  ticket.deployment, ticket.key, ticket.scopes = candidate.deployment, key.id, scopes
  ticket.granted = now
  ticket.taken, ticket.taken_day, ticket.quota, ticket.upstream = n, today, candidate.quota, candidate.upstream
  if candidate.quota == '' then ticket.quota = key.scopes[1] end
  keep(id, ticket)
  ends[id] = now + (claimed and LEASE_MS or UNCLAIMED_MS)
end

-- Ends the lease of a ticket; `used` are the tokens that its call is known to have used, nil where
-- it may have used all it took.
local function end_lease(ticket, used, was_sent)
  local more = used and used - ticket.taken or 0
  for i = 1, #ticket.scopes, 2 do
    return_theirs(ticket.scopes[i], ticket.scopes[i + 1], more, ticket.granted, ticket.taken_day, was_sent)
  end
end

-- Ends what a ticket holds of our limits.
local function end_own(id, ticket, used, counts)
  for i = 1, #ticket.own, 2 do
    settle_ours(ticket.own[i], cap_of(ticket.own[i + 1]), id, ticket.tokens, used, counts, ticket.at, ticket.day)
  end
end
