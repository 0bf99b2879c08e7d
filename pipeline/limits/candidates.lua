-- Candidates: which deployment and key can take a request now.
--
-- Touches  {limits}:plan:{room}        the candidates of a room, as its workers made them known
--          {limits}:dead               hash of dead keys: since when, why, when to be tried again
local plans = {}
-- What a call does is counted in µs as they were measured, on the safe side; what is beyond MOST it
-- leaves to the next: to end, let go or grant a ticket; to unpack and fetch a candidate, to look at
-- it, and to look again while it is as it was.
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

-- Fetches candidates from `first` to `last`, of these numbers if any are given.
local function fetch_between(plan, class, numbers, first, last)
  local ready, names, scopes = plan.ready[class], {}, {}
  local candidates = unpack_candidates(plan, numbers and 0 or last)
  for nth = first, last do
    local i = numbers and numbers[nth] or nth
    if not ready[i] then
      ready[i] = true
      spent = spent + FETCH_US
      local known = known_of(candidates[i], plan, class)
      for k = 0, #known.keys do
        local all = k == 0 and known.scopes or known.keys[k].scopes
        for s = 1, #all, 2 do
          scopes[#scopes + 1] = all[s]
          names[#names + 1] = all[s + 1]
        end
      end
    end
  end
  fetch(names, scopes)
end

-- Fetches the candidates of whom this is the first: eight, as one of those is mostly enough, then
-- 64 at a time.
local function fetch_candidates(plan, first, class)
  if first == 1 then
    fetch_between(plan, class, nil, 1, math.min(plan.size, 8))
  elseif first % 64 == 9 then
    fetch_between(plan, class, nil, first, math.min(plan.size, first + 63))
  end
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
  local cut_ms, cut_why = cut_off(use)
  if cut_ms > wait then wait, why, by_size = cut_ms, cut_why, false end
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

-- Whether a reason not to take a request says more than another: "dead", "heavy" and "down" are the
-- reason only where they are that of all.
local function outweighs(why, reason)
  if not reason or reason == 'dead' then return true end
  if reason == 'heavy' then return why ~= 'dead' end
  return reason == 'down' and why ~= 'dead' and why ~= 'heavy'
end

-- Chooses for a ticket, among the candidates of these numbers if any are given: gives the
-- candidate, key and tokens, and how that was decided; or nothing, the ms until one may fit, why the
-- last one did not, whether a smaller request might have fitted, the candidate that fits soonest,
-- and whether none of them keeps it waiting for its size.
local choose_companions
local function choose(plan, ticket, numbers)
  local best, fitting, passed, strategy = nil, {}, {}, nil
  local soonest, sized, nearest, plain = NEVER, false, nil, true
  local reason = numbers and #numbers < plan.size and 'busy' or nil
  if numbers then fetch_between(plan, ticket.class, numbers, 1, #numbers) end
  for nth = 1, numbers and #numbers or plan.size do
    local i = numbers and numbers[nth] or nth
    if not numbers then fetch_candidates(plan, i, ticket.class) end
    local candidate = plan.candidates[i]
    if best and candidate.rank > best[1].rank then break end
    local wait, why, by_size, key, n, load = fits(candidate, plan, ticket)
    if wait == 0 then
      local one = {candidate, key, n, load}
      strategy = candidate.strategy or ticket.sticky
      if strategy then fitting[#fitting + 1] = one end
      if not best or load < best[4] then best = one end
      if load == 0 and not strategy then break end
    else
      if outweighs(why, reason) then reason = why end
      if #passed < SHOWN then passed[#passed + 1] = candidate.deployment .. ': ' .. why end
      plain = plain and not by_size and why ~= 'heavy'
      if why ~= 'heavy' then sized = sized or by_size end
      if wait < soonest then soonest, nearest = wait, candidate end
    end
  end
  if not best then return nil, soonest, reason or 'dead', sized, nearest, plain end
  if plan.also then
    local chosen, wait, why = choose_companions(plan.also, ticket)
    if not chosen then return nil, wait, why, false, nil, false end
    ticket.companions = chosen
  end
  local scores
  if #fitting > 1 then best, strategy, scores = pick(strategy, fitting, ticket) end
  local decided = (scores or #passed > 0) and told(scores and strategy, fitting, scores, passed) or nil
  return best[1], best[2], best[3], decided
end

-- Whether a reason is one for which a ticket is not to wait.
local function is_final(why)
  return why == 'dead' or why == 'heavy' or why == 'down'
end

-- Tells why a ticket cannot be served, if so, as `choose` does; and in how many ms it may be.
local function never_fits(plan, ticket)
  local reason, soonest = 'dead', NEVER
  for i = 1, plan.size do
    fetch_candidates(plan, i, ticket.class)
    local wait, why = fits(plan.candidates[i], plan, ticket)
    if wait == 0 or not is_final(why) then return nil end
    if outweighs(why, reason) then reason = why end
    soonest = math.min(soonest, wait)
  end
  return reason, soonest
end
