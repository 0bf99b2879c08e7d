-- Admits events to deployments: limits, leases, keys in rotation, and waiting rooms for the rest.
--
-- Touches, beside what the parts above name
--   {limits}:order             counter of tickets
--   {limits}:alarm             when some worker has promised to look again
-- ARGV     verb, then its arguments, each packed
--   admit    questions
--   settle   settlements
--   renew    question, deployment, key, generation of the call: recreated where it had run out
--   resume   ticket, generation of the call: renewed only if its lease is still there
--   alarm    ms after which the look was promised: this is it
--   look     {deployment's scope, upstream, 1 if it is alive, failures, ms open, at the most, ms to
--            the next look}
--   sweep    none: looks at every room in which somebody waits
--   revive   keys
-- Returns  {packed answers to admit and resume, tickets woken, ms until this worker is to look
--          again or -1}
local answers, pending = {}, {}

-- Whether nothing has changed that is to be kept, and no time at which to look again.
local function is_idle()
  return not (scheduled or next(changed) or next(kept) or next(ends) or next(kept_rooms))
end

local function end_expired()
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', L .. ':due:leases', '-inf', now, 'LIMIT', 0, 50)) do
    if spent > MOST_US / 2 then return end
    spent = spent + GRANT_US
    local ticket = ticket_of(id)
    if ticket and ticket.state == 'lease' then
      -- A call may have been made of one that was claimed: what it took stays taken.
      end_lease(ticket, not ticket.claimed and 0 or nil, ticket.claimed)
      touch(ticket.upstream)
    end
    if ticket then
      free_own(id, ticket, 0, false)
      -- Its event was woken and has not come: the wake-up was lost.
      if not ticket.claimed then woken[#woken + 1] = id end
    end
    forget(id)
  end
end

local function head_of(key)
  return tonumber(redis.call('ZRANGE', L .. key, 0, 0, 'WITHSCORES')[2] or NEVER)
end

local first_due, first_deadline = head_of(':due'), head_of(':due:deadlines')

local function end_overdue()
  scheduled = true
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', L .. ':due:deadlines', '-inf', wall, 'LIMIT', 0, 50)) do
    spent = spent + TICKET_US
    local ticket = ticket_of(id)
    redis.call('ZREM', L .. ':due:deadlines', id)
    if ticket and (ticket.state == 'waiting' or ticket.state == 'held') then
      leave(id, ticket)
      free_own(id, ticket, 0, false)
      forget(id)
      woken[#woken + 1] = id
    end
  end
end

local function look_at_due()
  if first_deadline <= wall then end_overdue() end
  if first_due > now then return end
  scheduled = true
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', L .. ':due', '-inf', now, 'LIMIT', 0, 16)) do
    redis.call('ZREM', L .. ':due', member)
    local name = string.sub(member, 3)
    if string.sub(member, 1, 1) == 'r' then touched[name] = true else let_go(name) end
  end
end

local function renew(item)
  local q, deployment, key_id, generation = item[1], item[2], item[3], item[4]
  local id = q[1]
  local ticket, plan = ticket_of(id), plan_of(q[2])
  if ticket and ticket.generation > generation then return end
  if not ticket or ticket.state ~= 'lease' then
    local wanted, with
    for _, candidate in ipairs(plan and unpack_candidates(plan, plan.size) or {}) do
      for _, key in ipairs(candidate.keys) do
        if candidate.deployment == deployment and key.id == key_id then wanted, with = candidate, key end
      end
    end
    if not wanted then return end
    if ticket then
      leave(id, ticket)
      if ticket.state == 'held' then reserve_own(id, ticket) end
    else
      ticket = new_ticket(q)
      ticket.tokens = own_tokens(ticket)
      reserve_own(id, ticket)
    end
    grant(id, ticket, wanted, with, tokens_on(wanted, ticket), true)
  end
  if not ticket.claimed or ticket.generation ~= generation then
    ticket.claimed, ticket.generation = true, generation
    keep(id, ticket)
  end
  ends[id] = now + LEASE_MS
end

local function resume(item)
  local ticket = ticket_of(item[1])
  if not ticket or ticket.state ~= 'lease' or ticket.generation > item[2] then return 0 end
  ticket.generation, ticket.claimed = item[2], true
  keep(item[1], ticket)
  ends[item[1]] = now + LEASE_MS
  return 1
end

-- Says when a worker is to look again; one is enough. One whose promise another has overtaken need
-- not look any more, but a timer may be somewhat ahead of Redis's clock.
local function next_look(promised_ms)
  if not is_idle() then first_due, first_deadline = head_of(':due'), head_of(':due:deadlines') end
  local soonest = math.min(first_due, first_deadline - wall + now)
  if soonest == NEVER then return -1 end
  local promised = tonumber(redis.call('GET', L .. ':alarm') or '0')
  local ahead = promised_ms and 10 + promised_ms / 1000 or 0
  if promised > now + ahead and promised <= soonest + 1 then return -1 end
  soonest = math.max(soonest, now)
  redis.call('SET', L .. ':alarm', string.format('%.3f', soonest), 'EX', 3600)
  return math.ceil(soonest - now) + 1
end

local verb = ARGV[1]
end_expired()
look_at_due()
if verb == 'sweep' then
  for _, name in ipairs(redis.call('SRANDMEMBER', L .. ':rooms', 50)) do touched[name] = true end
end
if verb == 'revive' then
  for i = 2, #ARGV do redis.call('HDEL', L .. ':dead', ARGV[i]) end
  for _, name in ipairs(redis.call('SRANDMEMBER', L .. ':rooms', 50)) do touched[name] = true end
end
for i = 2, verb ~= 'revive' and verb ~= 'alarm' and #ARGV or 0 do
  local item = cmsgpack.unpack(ARGV[i])
  spent = spent + TICKET_US
  if verb == 'admit' then
    local answer, place, ms = ask(item)
    answers[i - 1] = answer or false
    if not answer then pending[#pending + 1] = {i - 1, item[1], place, ms} end
  elseif verb == 'settle' then
    settle(item)
  elseif verb == 'renew' then
    renew(item)
  elseif verb == 'resume' then
    answers[i - 1] = resume(item)
  elseif verb == 'look' then
    note_look(item[1], item[3] == 1, item[4], item[5], item[6], item[7])
    touch(item[2])
  end
end
serve_touched()
save_rooms()

local answered = {}
for _, one in ipairs(pending) do
  local at, id, place, ms = unpack(one)
  local ticket = ticket_of(id)
  answered[id] = ticket.state ~= 'waiting'
  answers[at] = answered[id] and known(id, ticket) or {'wait', '', place, ms}
end
local called = {}
for _, id in ipairs(woken) do
  if not answered[id] then called[#called + 1] = id end
end
for i = 1, #answers do answers[i] = cmsgpack.pack(answers[i]) end
local look_in = next_look(verb == 'alarm' and tonumber(ARGV[2]))
if not is_idle() then
  save_tickets()
  save()
elseif now == tonumber(last) or now - last > 1000 then
  -- Else a clock that is set back while nothing changes would stand still.
  save_time()
end
return {answers, called, look_in}
