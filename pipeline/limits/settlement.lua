-- What comes of calls: what they used, what their providers showed of themselves, what that frees.
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

-- Before the first refusal a blast of calls knew no limit: what was not refused of it is about what
-- the provider takes at once. Tells whether a refusal was one of those and is reckoned with.
local function count_blast(use, granted)
  local is_first = use[FOUND_CONCURRENCY] < 0
  if is_first then use[BLAST], use[BLAST_AT] = use[LEASES], now end
  if granted > use[BLAST_AT] then return false end
  use[BLAST] = math.max(1, use[BLAST] - 1)
  if is_first then return false end
  use[FOUND_CONCURRENCY] = math.min(use[FOUND_CONCURRENCY], use[BLAST])
  return true
end

local function back_off(scope, limited, told, taken, granted)
  local use = use_of(scope)
  if limited == 'requests' and told.room then limited = 'concurrency' end
  if limited == 'concurrency' and count_blast(use, granted) then
    write(scope)
    return
  end
  if told[limited] or now - use[FOUND_AT] < 1000 then return end
  local part = 1 - (now % MINUTE_MS) / MINUTE_MS
  local function lower(field, current) use[field] = math.max(1, math.floor((use[field] >= 0 and use[field] or current) * 0.9)) end
  count_minute(use, 0)
  use[REQUESTS] = use[REQUESTS] - 1
  -- Of so few requests nobody can tell a rate: the provider's hint and its rest are all we know.
  if limited ~= 'concurrency' and use[REQUESTS] + use[REQUESTS_BEFORE] < FEWEST_TO_TELL then return end
  if limited == 'requests' then lower(FOUND_RPM, use[REQUESTS] + use[REQUESTS_BEFORE] * part) end
  if limited == 'tokens' then
    lower(FOUND_TPM, use[TOKENS] + use[TOKENS_BEFORE] * part)
    -- Below that the request that was refused could never go, nor the limit go up again.
    use[FOUND_TPM] = math.max(use[FOUND_TPM], taken)
  end
  if limited == 'concurrency' then lower(FOUND_CONCURRENCY, use[LEASES]) end
  use[FOUND_AT] = now
  write(scope)
end

local function go_up(scope, told)
  local use = use_of(scope)
  if use[FOUND_AT] == 0 or now - use[FOUND_AT] < 10000 then return end
  local searched = {[FOUND_RPM] = not told.requests, [FOUND_TPM] = not told.tokens, [FOUND_CONCURRENCY] = true}
  for field, is_searched in pairs(searched) do
    if is_searched and use[field] >= 0 then use[field] = use[field] + math.max(1, math.floor(use[field] * 0.01)) end
  end
  use[FOUND_AT] = now
  write(scope)
end

local function mean_of(before, value)
  return before > 0 and before + (value - before) * 0.05 or value
end

local function count_tokens(scope, estimate, prompt, completion)
  local use = use_of(scope)
  if completion > 0 then use[ANSWER] = mean_of(use[ANSWER], completion) end
  if prompt > 0 and estimate > 0 then use[RATIO] = mean_of(use[RATIO], prompt / estimate) end
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
  local told = {}
  note_health(ticket.scopes[1], ticket.trial, s[13], s[14], s[15], completion)
  if #seen > 0 or limited ~= '' then
    told = learn(ticket.quota, limit_of(ticket, ticket.quota), seen, age_ms)
    if limited ~= '' then back_off(ticket.quota, limited, told, ticket.taken, ticket.granted) end
  end
  if rest_ms > 0 then
    local scope = rest_all == 1 and ticket.scopes[1] or ticket.quota
    use_of(scope)[REST] = math.max(use_of(scope)[REST], now + rest_ms)
    write(scope)
  end
  if dead ~= '' then
    redis.call('HSET', L .. ':dead', ticket.key, cmsgpack.pack({wall, dead, now + PROBE_MS}))
    dead_keys, keys_changed = nil, true
  elseif ending == 'answered' then
    if dead_of(ticket.key) then
      redis.call('HDEL', L .. ':dead', ticket.key)
      dead_keys, keys_changed = nil, true
    end
    go_up(ticket.quota, told)
    count_tokens(ticket.scopes[1], ticket.estimate, prompt, completion)
    if #ticket.own > 0 then count_tokens(ticket.own[1], ticket.estimate, prompt, completion) end
  end
end

-- Ends what a ticket holds. A settlement is  ticket, generation, ending, prompt and completion
-- tokens (-1 where nobody knows), 1 if the provider can have counted the request, ms that it
-- wants to be left alone, 1 if that is for all keys, why its key is dead or "", by which dimension
-- it refused or "", what it said of its limits, how many ms ago, what that says of the deployment's
-- health, ms to its first token and to its last or -1 (`health.lua`). An ending is
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
    ends[id] = now + LEASE_MS
    return
  end
  free_own(id, ticket, used or ticket.tokens, ending == 'answered' or ending == 'refused')
  forget(id)
end
