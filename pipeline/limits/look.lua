-- Looks at the limits and changes nothing that counts.
--
-- ARGV     packed: scopes as triples (scope, name of its limit, name of the limit by default),
--          whether to list rooms and dead keys, a ticket or "", a question or false to explain,
--          a map of limits by name that are to be tried in place of all that hold, or false
-- Returns  packed map of
--   wall     Redis's time in ms
--   scopes   for each that has a limit or was used: scope, limit, calls under way, ms it rests,
--            requests and tokens of this minute (theirs: as far as the minute has gone), of its
--            window, of this day, ms until requests and tokens are whole again, found limits of
--            requests, tokens and concurrency, tickets held, ms until a request can go, ms
--            that the oldest held waits; for a deployment that was called ms it is cut off (0: until
--            its trial ends; -1: it is not), failed calls in a row, trials that failed, ms to the
--            first token: mean and by when 95 of 100 are there, ms for each token after it, ms since
--            that was measured (-1: never)
--   rooms    name, deployments, waiting in each class, ms the oldest waits, mean ms per admission
--   dead     key, since in ms of the wall, why, ms until it is tried again
--   place    state of the ticket, its place, ms until its turn or -1
--   own, candidates   what stops the question: scope, ms (-1: nobody knows), dimension, limit,
--            remaining; deployment, key, ms, dimension, tokens it would take
--   judged   what admission goes by: which of our limits stops it, in ms, dimension, limit,
--            remaining, window in ms, tickets held there; the deployment and key it would get, or
--            ms until one may fit, and why; waiting in its room, most that may wait, ahead of it,
--            ms until its turn
local asked = cmsgpack.unpack(ARGV[1])
local found = {wall = wall, scopes = {}, rooms = {}, dead = {}, place = {}, own = {}, candidates = {}, judged = {}}
if asked.caps then
  for name, cap in pairs(asked.caps) do caps[name] = cap end
  if caps.gate then MOST_WAITING = caps.gate[2] end
  setmetatable(caps, {__index = function() return UNLIMITED end})
end

local function known_ms(wait) return wait < NEVER and wait or -1 end

local function newest(key)
  local last_entry = redis.call('ZREVRANGE', key, 0, 0, 'WITHSCORES')[2]
  return last_entry and math.max(0, math.min(MINUTE_MS, last_entry + MINUTE_MS - now)) or 0
end

local function look_at_ours(scope, cap, use)
  local window, tokens = L .. ':window:' .. scope, L .. ':tokens:' .. scope
  drop_old_tokens(scope, use)
  local since = string.format('(%.3f', now - MINUTE_MS - 1)
  local of_window = cap[WINDOW] > 0 and redis.call('ZCOUNT', window, string.format('(%.3f', now - cap[WINDOW_MS] - 1), '+inf') or 0
  return redis.call('ZCOUNT', window, since, '+inf'), use[WINDOW_TOKENS], of_window, newest(window), newest(tokens), (ours(scope, cap, 0))
end

local function look_at_theirs(scope, name, use)
  count_minute(use, 0)
  local part = 1 - (now % MINUTE_MS) / MINUTE_MS
  local requests = use[REQUESTS] - 1 + use[REQUESTS_BEFORE] * part
  local tokens = use[TOKENS] + use[TOKENS_BEFORE] * part
  return math.floor(requests), math.floor(tokens), 0, math.max(0, use[REQUESTS_FULL] - now),
    math.max(0, use[TOKENS_FULL] - now), (theirs(scope, name, 0))
end

local function is_ours(scope)
  return string.find('tuxm', string.sub(scope, 1, 1), 1, true) ~= nil
end

local function oldest_held(scope)
  local oldest = 0
  for class = 1, 3 do
    local first, last = class * 10000000000000, (class + 1) * 10000000000000 - 1
    local id = redis.call('ZRANGEBYSCORE', L .. ':held:' .. scope, first, last, 'LIMIT', 0, 1)[1]
    local ticket = id and ticket_of(id)
    if ticket then oldest = math.max(oldest, wall - ticket.since) end
  end
  return oldest
end

local function health_of(use)
  if not use[FAILED] then return {} end
  local open_ms = use[OPEN_UNTIL] == 0 and -1 or math.max(0, use[OPEN_UNTIL] - now)
  return {open_ms, use[FAILED], use[TRIPS], use[FIRST_MS], use[FIRST_MS] + 2 * use[FIRST_DEV], use[TOKEN_MS],
    use[MEASURED] > 0 and now - use[MEASURED] or -1}
end

local function look_at(scope, name, default)
  local cap = cap_of(name)
  if cap == UNLIMITED then cap = cap_of(default) end
  local use = use_of(scope)
  local look = is_ours(scope) and {look_at_ours(scope, cap, use)} or {look_at_theirs(scope, name, use)}
  return {scope, cap, use[LEASES], math.max(0, use[REST] - now), look[1], look[2], look[3], use[DAY_REQUESTS],
    use[DAY_TOKENS], look[4], look[5], use[FOUND_RPM], use[FOUND_TPM], use[FOUND_CONCURRENCY], use[HELD], known_ms(look[6]),
    use[HELD] > 0 and oldest_held(scope) or 0, health_of(use)}
end

-- Looks at the heads of so many tenants in each class.
local function oldest_in(name, most)
  local oldest = 0
  for class = 1, 3 do
    for _, tenant in ipairs(redis.call('ZRANGE', queue_key(name, class), 0, most - 1)) do
      local id = redis.call('ZRANGE', L .. ':line:' .. name .. ':' .. class .. ':' .. tenant, 0, 0)[1]
      local ticket = id and ticket_of(id)
      if ticket then oldest = math.max(oldest, wall - ticket.since) end
    end
  end
  return oldest
end

local function look_at_rooms()
  local names = redis.call('SRANDMEMBER', L .. ':rooms', 100)
  table.sort(names)
  for _, name in ipairs(names) do
    local room, plan, deployments = room_of(name), plan_of(name), {}
    for i, candidate in ipairs(plan and unpack_candidates(plan, plan.size) or {}) do deployments[i] = candidate.deployment end
    found.rooms[#found.rooms + 1] = {name, deployments, room.waits, oldest_in(name, math.ceil(100 / #names)), room.pace}
  end
  local dead = redis.call('HGETALL', L .. ':dead')
  for i = 1, #dead, 2 do
    local one = cmsgpack.unpack(dead[i + 1])
    found.dead[#found.dead + 1] = {dead[i], one[1], one[2], math.max(0, one[3] - now)}
  end
end

-- How many go before a ticket: of its own line all before it, of other tenants' as many as their
-- weight allows them in that time.
local function place_of(id)
  local ticket = ticket_of(id)
  if not ticket then return {'', 0, -1} end
  if ticket.state == 'held' then
    local rank = redis.call('ZRANK', L .. ':held:' .. ticket.held, id) or 0
    local due = redis.call('ZSCORE', L .. ':due', 's ' .. ticket.held)
    return {ticket.state, rank + 1, rank == 0 and due and known_ms(math.max(0, due - now)) or -1}
  end
  if ticket.state ~= 'waiting' then return {ticket.state, 0, 0} end
  local room, class, ahead = room_of(ticket.room), ticket.class, 0
  for higher = 1, class - 1 do ahead = ahead + room.waits[higher] end
  local mine = redis.call('ZRANK', line_key(ticket), id) or 0
  local queue = queue_key(ticket.room, class)
  local my_tag = tonumber(redis.call('ZSCORE', queue, ticket.tenant) or '0') + mine / ticket.weight
  local others = redis.call('ZRANGEBYSCORE', queue, '-inf', my_tag, 'WITHSCORES', 'LIMIT', 0, 200)
  for i = 1, #others, 2 do
    if others[i] ~= ticket.tenant then
      local line = L .. ':line:' .. ticket.room .. ':' .. class .. ':' .. others[i]
      local head = ticket_of(redis.call('ZRANGE', line, 0, 0)[1] or '')
      local before = math.floor((my_tag - others[i + 1]) * (head and head.weight or 1)) + 1
      ahead = ahead + math.min(redis.call('ZCARD', line), before)
    end
  end
  ahead = ahead + mine
  local due = redis.call('ZSCORE', L .. ':due', 'r ' .. ticket.room)
  local ms = due and math.max(0, due - now) or -1
  if room.paced >= 10 then ms = math.max(ms, (ahead + 1) * room.pace) end
  return {ticket.state, ahead + 1, ms}
end

local function foresee(ticket, plan)
  local wait, scope, why = stopped_by(ticket.own, ticket.tokens)
  local candidate, key, reason = choose(plan, ticket)
  local ahead, ms = outlook(ticket)
  why = why or {'', 0, 0, 0}
  return {scope or '', known_ms(wait), why[1], why[2], why[3], why[4], scope and use_of(scope)[HELD] or 0,
    candidate and candidate.deployment or '', candidate and key.id or '',
    candidate and 0 or known_ms(key), candidate and '' or reason,
    waiting_in(room_of(ticket.room)), MOST_WAITING, ahead, ms}
end

local function explain(q)
  local ticket = new_ticket(q)
  ticket.tokens = own_tokens(ticket)
  for i = 1, #ticket.own, 2 do
    local wait, _, why = stopped_by({ticket.own[i], ticket.own[i + 1]}, ticket.tokens)
    found.own[#found.own + 1] = {ticket.own[i], known_ms(wait), why and why[1] or '', why and why[2] or 0, why and why[3] or 0}
  end
  local plan = plan_of(q[2])
  for i, candidate in ipairs(plan and unpack_candidates(plan, plan.size) or {}) do
    if i % 8 == 1 then fetch_candidates(plan, i, ticket.class) end
    local wait, why, _, key, n = fits(candidate, plan, ticket)
    found.candidates[i] = {candidate.deployment, key and key.id or '', known_ms(wait), why, n or 0}
  end
  if plan then found.judged = foresee(ticket, plan) end
end

for i = 1, #asked.scopes, 3 do
  found.scopes[#found.scopes + 1] = look_at(asked.scopes[i], asked.scopes[i + 1], asked.scopes[i + 2])
end
if asked.rooms then look_at_rooms() end
if asked.ticket ~= '' then found.place = place_of(asked.ticket) end
if asked.question then explain(asked.question) end
-- Only what had left its minute was taken out of the windows: it has to be taken off their sums.
save()
return cmsgpack.pack(found)
