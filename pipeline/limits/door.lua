-- Who asks for a lease, and what is answered; what comes of calls, and what that frees.
--
-- A question is  ticket, room, class 1–3, tenant, weight, own limits as triples, estimate of the
-- prompt's tokens, most tokens of the answer or 0, deadline in ms of the wall or 0, 1 to refuse
-- rather than wait for our limits.
-- An answer is one of
--   lease, deployment, key
--   wait, why, place, ms until its turn or -1
--   refuse, why, scope, dimension, limit, remaining, ms until it resets or -1, its window in ms
--   unknown                         the room's candidates have to be made known first
local function own_limits(triples)
  local names = {}
  for i = 1, #triples, 3 do
    names[#names + 1] = triples[i + 1]
    names[#names + 1] = triples[i + 2]
  end
  fetch(names, {})
  local own, scopes = {}, {}
  for i = 1, #triples, 3 do
    local name = cap_of(triples[i + 1]) ~= UNLIMITED and triples[i + 1] or triples[i + 2]
    if cap_of(name) ~= UNLIMITED then
      own[#own + 1] = triples[i]
      own[#own + 1] = name
      scopes[#scopes + 1] = triples[i]
    end
  end
  fetch({}, scopes)
  return own
end

-- Which of our limits stops a request: gives ms until it does no more, the scope, and by what.
-- Nobody goes before those who are held there already, unless it is the first of them that asks.
local function stopped_by(own, n, is_first)
  local longest_wait, by, why = 0, nil, nil
  for i = 1, #own, 2 do
    local wait, reason = ours(own[i], cap_of(own[i + 1]), n)
    if wait == 0 and not is_first and use_of(own[i])[HELD] > 0 then
      wait, reason = 1, {'queue', 0, 0, 0}
    end
    if wait > longest_wait then longest_wait, by, why = wait, own[i], reason end
  end
  return longest_wait, by, why
end

local function refusal(why, scope, reason, wait)
  return {'refuse', why, scope or '', reason and reason[1] or '', reason and reason[2] or 0,
    reason and reason[3] or 0, wait and wait < NEVER and wait or -1, reason and reason[4] or 0}
end

local function reserve_own(id, ticket)
  for i = 1, #ticket.own, 2 do reserve_ours(ticket.own[i], cap_of(ticket.own[i + 1]), id, ticket.tokens) end
  ticket.day = today
end

local function hold(id, ticket, scope, wait)
  ticket.state, ticket.held = 'held', scope
  redis.call('ZADD', L .. ':held:' .. scope, ticket.class * 10000000000000 + ticket.order, id)
  local use = use_of(scope)
  use[HELD] = use[HELD] + 1
  write(scope)
  keep(id, ticket)
  look_again('s ' .. scope, wait)
end

-- Lets those go on who waited for our limit, as far as it allows.
local function let_go(scope)
  for _ = 1, 32 do
    local id = redis.call('ZRANGE', L .. ':held:' .. scope, 0, 0)[1]
    if not id then
      use_of(scope)[HELD] = 0
      write(scope)
      return
    end
    local ticket = ticket_of(id)
    local wait, by = 0, nil
    if ticket then wait, by = stopped_by(ticket.own, ticket.tokens, true) end
    if wait > 0 and by == scope then
      look_again('s ' .. scope, wait)
      return
    end
    unhold(id, ticket or {held = scope})
    if by then
      hold(id, ticket, by, wait)
    elseif ticket then
      reserve_own(id, ticket)
      enter(id, ticket)
    end
  end
  look_again('s ' .. scope, 0)
end

-- How many are served before a ticket at the end of its line, and in how many ms its turn comes;
-- -1 where nobody knows.
local function outlook(ticket)
  local room = room_of(ticket.room)
  local ahead = 0
  for class = 1, ticket.class - 1 do ahead = ahead + room.waits[class] end
  local mine = redis.call('ZCARD', line_key(ticket))
  local tenants = math.max(1, redis.call('ZCARD', queue_key(ticket.room, ticket.class)))
  ahead = ahead + math.min(room.waits[ticket.class], (mine + 1) * tenants)
  local due = tonumber(redis.call('ZSCORE', L .. ':due', 'r ' .. ticket.room) or '-1')
  local soonest = due >= 0 and math.max(0, due - now) or -1
  if room.paced >= 10 then return ahead, math.max(soonest, ahead * room.pace) end
  return ahead, soonest
end

local function wait_in_room(id, ticket, soonest)
  local room = room_of(ticket.room)
  local ahead, ms = outlook(ticket)
  if soonest and soonest < NEVER then ms = math.max(ms, soonest) end
  local why
  if ticket.deadline > 0 and ms > ticket.deadline - wall then why = 'unreachable' end
  if waiting_in(room) >= MOST_WAITING then why = 'full' end
  if why then
    end_own(id, ticket, 0, false)
    forget(id)
    return refusal(why, '', nil, ms >= 0 and ms or nil)
  end
  enter(id, ticket)
  if ticket.deadline > 0 then redis.call('ZADD', L .. ':due:deadlines', ticket.deadline, id) end
  return nil, ahead + 1, ms
end

local function claim(id, ticket)
  ticket.claimed = true
  keep(id, ticket)
  redis.call('ZADD', L .. ':due:leases', now + LEASE_MS, id)
  return {'lease', ticket.deployment, ticket.key}
end

local function new_ticket(q)
  return {
    state = 'new', room = q[2], class = q[3], tenant = q[4], weight = q[5], own = own_limits(q[6]),
    estimate = q[7], answer = q[8], deadline = q[9], order = redis.call('INCR', L .. ':order'),
    since = wall, tokens = 0, day = today, at = 0, generation = 0, claimed = false,
  }
end

-- Passes our limits: gives an answer where one of them stops the ticket.
local function pass_own(id, ticket, may_refuse)
  local mean = #ticket.own > 0 and use_of(ticket.own[1])[ANSWER] or 0
  ticket.tokens = ticket.estimate + (ticket.answer > 0 and ticket.answer or math.ceil(mean > 0 and mean or 500))
  local wait, scope, why = stopped_by(ticket.own, ticket.tokens)
  if not scope then
    reserve_own(id, ticket)
    return nil
  end
  if why[1] == 'no_access' or why[1] == 'heavy' then return refusal(why[1], scope, why) end
  if may_refuse or (ticket.deadline > 0 and wait < NEVER and wait > ticket.deadline - wall) then
    return refusal('limited', scope, why, wait)
  end
  if use_of(scope)[HELD] >= MOST_WAITING then return refusal('full', scope, why, wait) end
  hold(id, ticket, scope, wait)
  if ticket.deadline > 0 then redis.call('ZADD', L .. ':due:deadlines', ticket.deadline, id) end
  return {'wait', scope, redis.call('ZCARD', L .. ':held:' .. scope), wait < NEVER and wait or -1}
end

local function known(id, ticket)
  if ticket.state == 'lease' then return claim(id, ticket) end
  if ticket.state == 'refused' then
    end_own(id, ticket, 0, false)
    forget(id)
    return refusal(ticket.why)
  end
  if ticket.state == 'held' then return {'wait', ticket.held, 0, -1} end
  if ticket.state == 'waiting' then
    local ahead, ms = outlook(ticket)
    return {'wait', '', ahead, ms}
  end
end

-- Answers a question, or gives nothing and the place and ms of a ticket that now waits in a room
-- which is served before the script ends.
local function ask(q)
  local id = q[1]
  local ticket = ticket_of(id)
  local answer = ticket and known(id, ticket)
  if answer then return answer end
  local plan = plan_of(q[2])
  if not plan then return {'unknown'} end
  if ticket then
    ticket.room = q[2]
    redis.call('ZREM', L .. ':due:leases', id)
  else
    ticket = new_ticket(q)
    answer = pass_own(id, ticket, q[10] == 1)
    if answer then return answer end
  end
  if waiting_in(room_of(ticket.room)) > 0 then return wait_in_room(id, ticket) end
  local candidate, key, n = choose(plan, ticket)
  if candidate then
    grant(id, ticket, candidate, key, n, true)
    return {'lease', candidate.deployment, ticket.key}
  end
  if n == 'dead' or n == 'heavy' then
    end_own(id, ticket, 0, false)
    forget(id)
    return refusal(n)
  end
  return wait_in_room(id, ticket, key)
end

local function learn_rate(use, full, rpm, burst, remaining, age_ms)
  local interval = MINUTE_MS / rpm
  local short = burst - (remaining + age_ms / interval)
  if remaining >= 0 and short > 0 then use[full] = math.max(use[full], now + short * interval) end
end

-- Corrects what we believe of a provider by what it said: dimension, limit or 0, remaining or -1,
-- ms to its reset or -1, so many ms ago. Tells which dimensions it told the limit of.
local function learn(scope, name, seen, age_ms)
  local use, cap, told = use_of(scope), cap_of(name), {}
  for _, one in ipairs(seen) do
    local dimension, limit, remaining, reset = one[1], one[2], one[3], one[4]
    if dimension == 'rpm' and limit > 0 then
      told.requests, use[FOUND_RPM] = true, limit
      local rpm = least(cap[RPM], limit)
      local burst = cap[BURST] > 0 and cap[BURST] or math.max(1, math.floor(rpm / 60))
      learn_rate(use, REQUESTS_FULL, rpm, burst, remaining, age_ms)
      if remaining > 0 then told.room = true end
    elseif dimension == 'tpm' and limit > 0 then
      told.tokens, use[FOUND_TPM] = true, limit
      local tpm = least(cap[TPM], limit)
      learn_rate(use, TOKENS_FULL, tpm, tpm / 60, remaining, age_ms)
    elseif remaining == 0 and reset > age_ms then
      use[REST] = math.max(use[REST], now + reset - age_ms)
    end
  end
  write(scope)
  return told
end

-- A limit that the provider does not tell is found: a tenth less where it refused, a hundredth
-- more for every ten seconds without a refusal.
local FEWEST_TO_TELL = 10
local function back_off(scope, limited, told)
  local use = use_of(scope)
  if limited == 'requests' and told.room then limited = 'concurrency' end
  if told[limited] or now - use[FOUND_AT] < 1000 then return end
  local part = 1 - (now % MINUTE_MS) / MINUTE_MS
  local function lower(field, current) use[field] = math.max(1, math.floor((use[field] >= 0 and use[field] or current) * 0.9)) end
  count_minute(use, 0)
  use[REQUESTS] = use[REQUESTS] - 1
  -- Of so few requests nobody can tell a rate: the provider's hint and its rest are all we know.
  if limited ~= 'concurrency' and use[REQUESTS] + use[REQUESTS_BEFORE] < FEWEST_TO_TELL then return end
  if limited == 'requests' then lower(FOUND_RPM, use[REQUESTS] + use[REQUESTS_BEFORE] * part) end
  if limited == 'tokens' then lower(FOUND_TPM, use[TOKENS] + use[TOKENS_BEFORE] * part) end
  if limited == 'concurrency' then lower(FOUND_CONCURRENCY, use[LEASES]) end
  use[FOUND_AT] = now
  write(scope)
end

local function go_up(scope)
  local use = use_of(scope)
  if use[FOUND_AT] == 0 or now - use[FOUND_AT] < 10000 then return end
  for _, field in ipairs({FOUND_RPM, FOUND_TPM, FOUND_CONCURRENCY}) do
    if use[field] >= 0 then use[field] = use[field] + math.max(1, math.floor(use[field] * 0.01)) end
  end
  use[FOUND_AT] = now
  write(scope)
end

local function count_tokens(scope, estimate, prompt, completion)
  local use = use_of(scope)
  local function mean(field, value)
    use[field] = use[field] > 0 and use[field] + (value - use[field]) * 0.05 or value
  end
  if completion > 0 then mean(ANSWER, completion) end
  if prompt > 0 and estimate > 0 then mean(RATIO, prompt / estimate) end
  write(scope)
end

local function limit_of(ticket, scope)
  for i = 1, #ticket.scopes, 2 do
    if ticket.scopes[i] == scope then return ticket.scopes[i + 1] end
  end
  return ''
end

-- What a provider showed of itself while it served a lease.
local function take_note(ticket, s)
  local ending, prompt, completion, rest_ms, rest_all, dead, limited, seen, age_ms =
    s[3], s[4], s[5], s[7], s[8], s[9], s[10], s[11], s[12]
  if #seen > 0 or limited ~= '' then
    local told = learn(ticket.quota, limit_of(ticket, ticket.quota), seen, age_ms)
    if limited ~= '' then back_off(ticket.quota, limited, told) end
  end
  if rest_ms > 0 then
    local scope = rest_all == 1 and ticket.scopes[1] or ticket.quota
    use_of(scope)[REST] = math.max(use_of(scope)[REST], now + rest_ms)
    write(scope)
  end
  if dead ~= '' then
    redis.call('HSET', L .. ':dead', ticket.key, cmsgpack.pack({wall, dead, now + PROBE_MS}))
    dead_keys = nil
  elseif ending == 'answered' then
    if redis.call('HDEL', L .. ':dead', ticket.key) == 1 then dead_keys = nil end
    go_up(ticket.quota)
    count_tokens(ticket.scopes[1], ticket.estimate, prompt, completion)
    if #ticket.own > 0 then count_tokens(ticket.own[1], ticket.estimate, prompt, completion) end
  end
end

-- Ends what a ticket holds. A settlement is  ticket, generation, ending, prompt and completion
-- tokens (-1 where nobody knows), 1 if the provider can have counted the request, ms that it
-- wants to be left alone, 1 if that is for all keys, why its key is dead or "", by which dimension
-- it refused or "", what it said of its limits, how many ms ago. An ending is
--   answered · again: another candidate is to be asked · failed · refused: by the client's fault
local function settle(s)
  local id, generation, ending = s[1], s[2], s[3]
  local ticket = ticket_of(id)
  if not ticket or ticket.generation > generation then return end
  local used = s[4] >= 0 and s[4] + math.max(0, s[5]) or nil
  if ending ~= 'answered' and not used then used = 0 end
  leave(id, ticket)
  if ticket.state == 'lease' then
    take_note(ticket, s)
    end_lease(ticket, used, s[6] == 1)
    touch(ticket.upstream)
  end
  if ending == 'again' then
    ticket.state, ticket.generation = 'between', generation + 1
    keep(id, ticket)
    redis.call('ZADD', L .. ':due:leases', now + LEASE_MS, id)
    return
  end
  -- Held ones have not reserved anything of our limits yet.
  if ticket.state ~= 'held' then
    end_own(id, ticket, used or ticket.tokens, ending == 'answered' or ending == 'refused')
    for i = 1, #ticket.own, 2 do
      if use_of(ticket.own[i])[HELD] > 0 then let_go(ticket.own[i]) end
    end
  end
  forget(id)
end
