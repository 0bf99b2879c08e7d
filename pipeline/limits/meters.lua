-- Limits of providers on us (theirs) and ours on tenants (ours): what fits, what it takes, what
-- comes back. A scope is what a limit holds for: a deployment, a key, a tenant, a user …
--
-- Touches  {limits}:due              see `room.lua`
--          {limits}:window:{scope}   sorted set of tickets by the time they were admitted
--          {limits}:tokens:{scope}   the same for "tokens ticket"
-- A ticket that only reserves has its place there as if it were admitted in the far future: it
-- counts until a minute after it is admitted indeed.
local FAR = 9007199254740000
-- Tokens of an answer before any was counted.
local UNKNOWN_ANSWER = 256

-- The tokens to reserve for an answer: as many as the client allows, else what answers have in the
-- mean; none where there is no text to answer with.
local function answer_tokens(ticket, mean)
  if ticket.answer ~= 0 then return math.max(0, ticket.answer) end
  return mean > 0 and math.ceil(mean) or UNKNOWN_ANSWER
end

local function least(configured, found)
  if found >= 0 and (configured < 0 or found < configured) then return found end
  return configured
end

-- Whether `n` tokens fit into a scope of a provider: gives the ms until then (0 is now), why, and
-- whether only the number of tokens stands in the way. GCRA: in any minute at most the limit and
-- the burst; a request of more tokens than the burst is a burst of its own. One is too heavy for a
-- limit that is known, not for one that was found by refusals.
local function theirs(scope, name, n)
  local use, cap = uses[scope] or use_of(scope), caps[name] or cap_of(name)
  local tpm = least(cap[TPM], use[FOUND_TPM])
  local told = use[FOUND_AT] == 0 and tpm or cap[TPM]
  if told > 0 and n > told or cap[TPD] >= 0 and n > cap[TPD] then return NEVER, 'heavy', true end
  local wait, why = 0, ''
  if use[REST] > now then wait, why = use[REST] - now, 'rest' end
  local rpm, concurrency = least(cap[RPM], use[FOUND_RPM]), least(cap[CONCURRENCY], use[FOUND_CONCURRENCY])
  if rpm > 0 then
    local burst = cap[BURST] > 0 and cap[BURST] or math.max(1, math.floor(rpm / 60))
    local ahead = use[REQUESTS_FULL] - now - (burst - 1) * MINUTE_MS / rpm
    if ahead > wait then wait, why = ahead, 'rpm' end
  end
  if cap[RPD] >= 0 and use[DAY_REQUESTS] >= cap[RPD] then
    local midnight = (today + 1) * DAY_MS - wall
    if midnight > wait then wait, why = midnight, 'rpd' end
  end
  if concurrency >= 0 and use[LEASES] >= concurrency then wait, why = NEVER, 'concurrency' end
  if wait > 0.001 then return wait, why, false end
  if tpm > 0 then
    local ahead = use[TOKENS_FULL] - now - (math.max(tpm / 60, n) - n) * MINUTE_MS / tpm
    if ahead > wait then wait, why = ahead, 'tpm' end
  end
  if cap[TPD] >= 0 and use[DAY_TOKENS] + n > cap[TPD] then
    wait, why = (today + 1) * DAY_MS - wall, 'tpd'
  end
  if wait <= 0.001 then return 0, '', false end
  return wait, why, true
end

local function count_minute(use, n)
  local minute = math.floor(now / MINUTE_MS)
  if use[MINUTE] ~= minute then
    local follows = use[MINUTE] == minute - 1
    use[REQUESTS_BEFORE], use[TOKENS_BEFORE] = follows and use[REQUESTS] or 0, follows and use[TOKENS] or 0
    use[MINUTE], use[REQUESTS], use[TOKENS] = minute, 0, 0
  end
  use[REQUESTS] = use[REQUESTS] + 1
  use[TOKENS] = use[TOKENS] + n
end

-- Takes so many calls and `n` tokens of what a provider allows in its minute and day.
local function take_rates(scope, name, n, calls)
  local use, cap = use_of(scope), cap_of(name)
  local rpm, tpm = least(cap[RPM], use[FOUND_RPM]), least(cap[TPM], use[FOUND_TPM])
  if rpm > 0 then use[REQUESTS_FULL] = math.max(use[REQUESTS_FULL], now) + calls * MINUTE_MS / rpm end
  if use[TOKENS_FULL] + MINUTE_MS <= now then use[RESTED] = now end
  if tpm > 0 then use[TOKENS_FULL] = math.max(use[TOKENS_FULL], now) + n * MINUTE_MS / tpm end
  use[DAY_REQUESTS] = use[DAY_REQUESTS] + calls
  use[DAY_TOKENS] = use[DAY_TOKENS] + n
  count_minute(use, n)
  write(scope)
end

-- Takes one request, which counts as so many calls, and `n` tokens of a provider's scope.
local function take_theirs(scope, name, n, calls)
  take_rates(scope, name, n, calls)
  local use = uses[scope]
  use[LEASES] = use[LEASES] + 1
end

-- Ends a hold on a provider's scope, taken at `since`. `more` is what it used beyond the tokens it
-- took. What time has given back already is not given back again: others would go over by it.
local function return_theirs(scope, name, more, since, day, was_sent, calls)
  local use, cap = use_of(scope), cap_of(name)
  local rpm, tpm = least(cap[RPM], use[FOUND_RPM]), least(cap[TPM], use[FOUND_TPM])
  use[LEASES] = math.max(0, use[LEASES] - 1)
  if tpm > 0 and (more > 0 or since >= use[RESTED]) then
    use[TOKENS_FULL] = use[TOKENS_FULL] + more * MINUTE_MS / tpm
  end
  if rpm > 0 and not was_sent and now - since <= math.max(1000, MINUTE_MS / rpm) then
    use[REQUESTS_FULL] = use[REQUESTS_FULL] - calls * MINUTE_MS / rpm
  end
  if day == today then
    use[DAY_TOKENS] = math.max(0, use[DAY_TOKENS] + more)
    if not was_sent then use[DAY_REQUESTS] = math.max(0, use[DAY_REQUESTS] - calls) end
  end
  write(scope)
end

-- Until when the newest `limit` tickets fill a window, as ms from now.
local function window_wait(scope, limit, span_ms)
  local oldest = redis.call('ZREVRANGE', L .. ':window:' .. scope, limit - 1, limit - 1, 'WITHSCORES')
  if not oldest[2] then return 0 end
  -- Both ends of a window belong to it.
  local wait = oldest[2] + span_ms + 1 - now
  return wait > DAY_MS * 366 and NEVER or wait
end

local function drop_old_tokens(scope, use)
  local key = L .. ':tokens:' .. scope
  local old = redis.call('ZRANGEBYSCORE', key, '-inf', now - MINUTE_MS - 1, 'LIMIT', 0, 200)
  for _, member in ipairs(old) do
    use[WINDOW_TOKENS] = use[WINDOW_TOKENS] - tonumber(string.match(member, '^%S+'))
  end
  if #old > 0 then
    redis.call('ZREM', key, unpack(old))
    write(scope)
  end
  return #old == 200
end

local function tokens_wait(scope, use, tpm, n)
  if drop_old_tokens(scope, use) then return 1 end
  local over = use[WINDOW_TOKENS] + n - tpm
  if over <= 0 then return 0 end
  local oldest = redis.call('ZRANGE', L .. ':tokens:' .. scope, 0, 49, 'WITHSCORES')
  local wait = NEVER
  for i = 1, #oldest, 2 do
    if tonumber(oldest[i + 1]) >= FAR then return wait end
    wait = oldest[i + 1] + MINUTE_MS + 2 - now
    over = over - tonumber(string.match(oldest[i], '^%S+'))
    if over <= 0 then break end
  end
  return wait
end

-- Whether a request of `n` tokens may go by one of our limits: gives the ms until then, and by
-- which dimension it is stopped: name, limit, how much of it is left, length of its window in ms.
local function ours(scope, cap, n)
  local use = use_of(scope)
  local wait, why = 0, nil
  local function stop(ms, dimension, limit, left, span_ms)
    if ms > wait then wait, why = ms, {dimension, limit, math.max(0, left), span_ms} end
  end
  local midnight = (today + 1) * DAY_MS - wall
  for _, limit in ipairs({RPM, TPM, RPD, TPD, CONCURRENCY, WINDOW}) do
    if cap[limit] == 0 then return NEVER, {'no_access', 0, 0, 0} end
  end
  if cap[CONCURRENCY] > 0 and use[LEASES] >= cap[CONCURRENCY] then
    stop(NEVER, 'concurrency', cap[CONCURRENCY], 0, 0)
  end
  if cap[RPM] > 0 then stop(window_wait(scope, cap[RPM], MINUTE_MS), 'rpm', cap[RPM], 0, MINUTE_MS) end
  if cap[WINDOW] > 0 then
    stop(window_wait(scope, cap[WINDOW], cap[WINDOW_MS]), 'window', cap[WINDOW], 0, cap[WINDOW_MS])
  end
  if cap[TPM] > 0 then
    if n > cap[TPM] then return NEVER, {'heavy', cap[TPM], cap[TPM], MINUTE_MS} end
    stop(tokens_wait(scope, use, cap[TPM], n), 'tpm', cap[TPM], cap[TPM] - use[WINDOW_TOKENS], MINUTE_MS)
  end
  if cap[RPD] > 0 and use[DAY_REQUESTS] >= cap[RPD] then stop(midnight, 'rpd', cap[RPD], 0, DAY_MS) end
  if cap[TPD] > 0 and use[DAY_TOKENS] + n > cap[TPD] then
    if n > cap[TPD] then return NEVER, {'heavy', cap[TPD], cap[TPD], DAY_MS} end
    stop(midnight, 'tpd', cap[TPD], cap[TPD] - use[DAY_TOKENS], DAY_MS)
  end
  return wait, why
end

local function takes_window(cap)
  return cap[RPM] > 0 or cap[WINDOW] > 0
end

-- Reserves one request and `n` tokens of our limit; they count from now on.
local function reserve_ours(scope, cap, ticket, n)
  local use = use_of(scope)
  if takes_window(cap) then redis.call('ZADD', L .. ':window:' .. scope, FAR, ticket) end
  if cap[TPM] > 0 then
    redis.call('ZADD', L .. ':tokens:' .. scope, FAR, string.format('%d %s', n, ticket))
    use[WINDOW_TOKENS] = use[WINDOW_TOKENS] + n
  end
  use[DAY_REQUESTS] = use[DAY_REQUESTS] + 1
  use[DAY_TOKENS] = use[DAY_TOKENS] + n
  use[RESERVED] = use[RESERVED] + 1
  use[RESERVED_TOKENS] = use[RESERVED_TOKENS] + n
  use[LEASES] = use[LEASES] + 1
  write(scope)
end

-- Begins the minute of what was reserved: the request is admitted.
local function admit_ours(scope, cap, ticket, n)
  local use = use_of(scope)
  if takes_window(cap) then
    local key, span_ms = L .. ':window:' .. scope, math.max(MINUTE_MS, cap[WINDOW_MS])
    redis.call('ZADD', key, now, ticket)
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now - span_ms - 1)
    redis.call('PEXPIRE', key, math.ceil(span_ms) + DAY_MS)
  end
  if cap[TPM] > 0 then
    local key = L .. ':tokens:' .. scope
    redis.call('ZADD', key, 'XX', now, string.format('%d %s', n, ticket))
    redis.call('PEXPIRE', key, 2 * DAY_MS)
  end
  use[RESERVED] = math.max(0, use[RESERVED] - 1)
  use[RESERVED_TOKENS] = math.max(0, use[RESERVED_TOKENS] - n)
  write(scope)
  -- Those held there may go on when this minute is over, though its call may last longer.
  if use[HELD] > 0 and (takes_window(cap) or cap[TPM] > 0) then
    local span_ms = cap[WINDOW] > 0 and math.min(MINUTE_MS, cap[WINDOW_MS]) or MINUTE_MS
    redis.call('ZADD', L .. ':due', 'LT', now + span_ms + 2, 's ' .. scope)
  end
end

-- Settles `n` tokens of our limit as `used` ones, on the day they were taken; without `counts`
-- the request is given back as well. `at` is when it was admitted, 0 if it never was.
local function settle_ours(scope, cap, ticket, n, used, counts, at, day)
  local use = use_of(scope)
  use[LEASES] = math.max(0, use[LEASES] - 1)
  if not counts then redis.call('ZREM', L .. ':window:' .. scope, ticket) end
  if used ~= n and redis.call('ZREM', L .. ':tokens:' .. scope, string.format('%d %s', n, ticket)) == 1 then
    if used > 0 then redis.call('ZADD', L .. ':tokens:' .. scope, at, string.format('%d %s', used, ticket)) end
    use[WINDOW_TOKENS] = use[WINDOW_TOKENS] + used - n
  end
  if at == 0 then
    use[RESERVED] = math.max(0, use[RESERVED] - 1)
    use[RESERVED_TOKENS] = math.max(0, use[RESERVED_TOKENS] - n)
  end
  if day == today or at == 0 then
    use[DAY_TOKENS] = math.max(0, use[DAY_TOKENS] + used - n)
    if not counts then use[DAY_REQUESTS] = math.max(0, use[DAY_REQUESTS] - 1) end
  end
  write(scope)
end
