-- Who asks for a lease, and what is answered.
--
-- A question is  ticket, room, class 1–3, tenant, weight, own limits as triples, estimate of the
-- prompt's tokens, most tokens of the answer (0: nobody said, -1: none), deadline in ms of the wall or 0, 1 to refuse
-- rather than wait for our limits, as how many calls it counts, what it has in common with others or
-- "", the request that it follows or "".
-- An answer is one of
--   lease, deployment, key, how it was decided (`strategies.lua`) or false
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

-- What a limit is, for those who wait behind others although it has room.
local function describe(cap)
  for _, one in ipairs({{RPM, 'rpm', MINUTE_MS}, {WINDOW, 'window', cap[WINDOW_MS]}, {TPM, 'tpm', MINUTE_MS},
    {CONCURRENCY, 'concurrency', 0}, {RPD, 'rpd', DAY_MS}, {TPD, 'tpd', DAY_MS}}) do
    if cap[one[1]] > 0 then return {one[2], cap[one[1]], 0, one[3]} end
  end
end

local function is_hopeless(why)
  return why[1] == 'no_access' or why[1] == 'heavy'
end

-- Which of our limits stops a request: gives ms until it does no more, the scope, and by what.
-- Nobody goes before those who are held there already, except in a scope of which it is the first.
local function stopped_by(own, n, first_in)
  local longest_wait, by, why = 0, nil, nil
  for i = 1, #own, 2 do
    local wait, reason = ours(own[i], cap_of(own[i + 1]), n)
    if wait == 0 and own[i] ~= first_in and use_of(own[i])[HELD] > 0 then
      local due = redis.call('ZSCORE', L .. ':due', 's ' .. own[i])
      wait, reason = due and math.max(1, due - now) or NEVER, describe(cap_of(own[i + 1]))
    end
    if reason and is_hopeless(reason) then return wait, own[i], reason end
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

-- Notes when the first of those held may go; one who waits for a change of the limit or for an end
-- of a call is noted for ever.
local function look_at_held(scope, wait)
  redis.call('ZADD', L .. ':due', 'LT', now + math.max(SOONEST_MS, wait), 's ' .. scope)
end

local function hold(id, ticket, scope, wait)
  ticket.state, ticket.held = 'held', scope
  redis.call('ZADD', L .. ':held:' .. scope, ticket.class * 10000000000000 + ticket.order, id)
  local use = use_of(scope)
  use[HELD] = use[HELD] + 1
  write(scope)
  keep(id, ticket)
  look_at_held(scope, wait)
end

-- Lets those go on who waited for our limit, as far as it allows.
local function let_go(scope)
  redis.call('ZREM', L .. ':due', 's ' .. scope)
  while spent < MOST_US do
    spent = spent + GRANT_US
    local id = redis.call('ZRANGE', L .. ':held:' .. scope, 0, 0)[1]
    if not id then
      use_of(scope)[HELD] = 0
      write(scope)
      return
    end
    local ticket = ticket_of(id)
    local wait, by, why = 0, nil, nil
    if ticket then wait, by, why = stopped_by(ticket.own, ticket.tokens, scope) end
    if by == scope and not is_hopeless(why) then
      look_at_held(scope, wait)
      return
    end
    unhold(id, ticket or {held = scope})
    if by and is_hopeless(why) then
      -- A limit was changed: its event is to come and be told.
      if ticket.deadline > 0 then redis.call('ZREM', L .. ':due:deadlines', id) end
      forget(id)
      woken[#woken + 1] = id
    elseif by then
      hold(id, ticket, by, wait)
    elseif ticket then
      reserve_own(id, ticket)
      enter(id, ticket)
    end
  end
  look_at_held(scope, 0)
end

-- Ends what a ticket holds of our limits, or its wait for one, and lets those go on who waited
-- for that.
local function free_own(id, ticket, used, counts)
  if ticket.state ~= 'held' then end_own(id, ticket, used, counts) end
  for i = 1, #ticket.own, 2 do
    if use_of(ticket.own[i])[HELD] > 0 then let_go(ticket.own[i]) end
  end
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
    free_own(id, ticket, 0, false)
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
  ends[id] = now + LEASE_MS
  local decided = ticket.decided or false
  ticket.decided = nil
  return {'lease', ticket.deployment, ticket.key, decided}
end

local function new_ticket(q)
  return {
    state = 'new', room = q[2], class = q[3], tenant = q[4], weight = q[5], own = own_limits(q[6]),
    estimate = q[7], answer = q[8], deadline = q[9], order = redis.call('INCR', L .. ':order'),
    since = wall, tokens = 0, day = today, at = 0, generation = 0, claimed = false,
    calls = q[11], sticky = q[12] ~= '' and q[12] or nil, follows = q[13] ~= '' and q[13] or nil,
  }
end

local function own_tokens(ticket)
  local mean = #ticket.own > 0 and use_of(ticket.own[1])[ANSWER] or 0
  return ticket.estimate + answer_tokens(ticket, mean)
end

-- Passes our limits: gives an answer where one of them stops the ticket.
local function pass_own(id, ticket, may_refuse)
  ticket.tokens = own_tokens(ticket)
  local wait, scope, why = stopped_by(ticket.own, ticket.tokens)
  if not scope then
    reserve_own(id, ticket)
    return nil
  end
  if is_hopeless(why) then return refusal(why[1], scope, why) end
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
    free_own(id, ticket, 0, false)
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
  if ticket and ticket.state == 'waiting' and ticket.room ~= q[2] then
    -- The configuration was changed: the room in which it waits is of the one before.
    if not plan_of(q[2]) then return {'unknown'} end
    leave(id, ticket)
    ticket.state = 'new'
  end
  local answer = ticket and known(id, ticket)
  if answer then return answer end
  local plan = plan_of(q[2])
  if not plan or plan.also and not plans_of(plan.also) then return {'unknown'} end
  if ticket then
    ticket.room = q[2]
    ends[id] = false
  else
    ticket = new_ticket(q)
    answer = pass_own(id, ticket, q[10] == 1)
    if answer then return answer end
  end
  local is_first = waiting_in(room_of(ticket.room)) == 0
  local candidate, key, n, decided
  if ticket.follows then candidate, key, n = find_paid(plan, ticket) end
  if candidate then decided = {'paid', '', ''}
  elseif is_first then candidate, key, n, decided = choose(plan, ticket) else n, key = never_fits(plan, ticket) end
  if candidate then
    grant(id, ticket, candidate, key, n, true)
    return {'lease', candidate.deployment, ticket.key, decided or false}
  end
  if n and is_final(n) then
    free_own(id, ticket, 0, false)
    forget(id)
    return refusal(n, '', nil, n == 'down' and key or nil)
  end
  return wait_in_room(id, ticket, is_first and key or nil)
end
