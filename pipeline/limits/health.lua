-- The health of deployments: which are cut off because they fail, how fast the others are. All of it
-- changes with the ends of calls, in the call of the script that settles them.
--
-- Touches  nothing but what is used of a deployment's scope (`ground.lua`)
-- A deployment is closed (it takes calls), open (it takes none until OPEN_UNTIL), or half-open: one
-- call at a time tries it, and closes it or opens it again for twice as long.

-- A call that tries a deployment and is never heard of again no longer stands in the way of another.
local TRIAL_MS = 60000
-- A measurement so old counts as much as a new one; among many a new one counts for so much.
local HALF_MS, LEAST_SHARE = 2000, 0.1
-- A deployment that is not chosen is looked at so often, by so many of the requests at the most; at
-- once where it turned out to be so much faster than was believed.
local LOOK_EVERY_MS, LOOK_SHARE, MUCH_FASTER = 5000, 0.05, 0.7

local function live_of(scope)
  local use = use_of(scope)
  if not use[FAILED] then
    for field = FAILED, LOOK_AT do use[field] = 0 end
  end
  return use
end

-- How long a deployment is cut off: ms, and whether it is worth waiting for: it is "down" once a
-- trial has failed, until the next one begins.
local function cut_off(use)
  local until_ms = use[OPEN_UNTIL] or 0
  if until_ms == 0 then return 0 end
  if until_ms > now then return until_ms - now, use[TRIPS] > 0 and 'down' or 'open' end
  if use[TRIED] > now - TRIAL_MS then return use[TRIED] + TRIAL_MS - now, 'open' end
  return 0
end

local function close(use)
  use[FAILED], use[OPEN_UNTIL], use[TRIPS], use[TRIED] = 0, 0, 0, 0
end

-- Notes a failed call: so many in a row open the deployment, and so does a trial's.
local function open(use, failures, open_ms, max_open_ms, was_trial)
  if was_trial and use[OPEN_UNTIL] > 0 then
    use[TRIPS] = use[TRIPS] + 1
    use[OPEN_UNTIL], use[TRIED] = now + math.min(max_open_ms, open_ms * 2 ^ use[TRIPS]), 0
  elseif use[OPEN_UNTIL] == 0 then
    use[FAILED] = use[FAILED] + 1
    if failures > 0 and use[FAILED] >= failures then use[OPEN_UNTIL] = now + open_ms end
  end
end

local function mean_by_age(before, value, age_ms)
  return before + (value - before) * math.max(LEAST_SHARE, age_ms / (age_ms + HALF_MS))
end

-- Takes a call's times in ms: to the first token (-1: its answer came whole) and to the last.
local function measure(use, first_ms, total_ms, tokens)
  local age_ms = use[MEASURED] > 0 and now - use[MEASURED] or NEVER
  local is_stream = first_ms >= 0
  local sample = first_ms
  if is_stream and tokens > 1 then
    local each_ms = math.max(0, total_ms - first_ms) / tokens
    use[TOKEN_MS] = use[TOKEN_MS] > 0 and mean_by_age(use[TOKEN_MS], each_ms, age_ms) or each_ms
  elseif not is_stream then
    sample = math.max(1, total_ms - use[TOKEN_MS] * math.max(0, tokens))
  end
  local is_first = use[MEASURED] == 0
  local was_much_faster = sample < use[FIRST_MS] * MUCH_FASTER
  use[FIRST_DEV] = is_first and 0 or mean_by_age(use[FIRST_DEV], math.abs(sample - use[FIRST_MS]), age_ms)
  use[FIRST_MS] = is_first and sample or mean_by_age(use[FIRST_MS], sample, age_ms)
  use[MEASURED] = now
  use[LOOK_AT] = was_much_faster and now or now + LOOK_EVERY_MS
end

-- What a call's end says of the deployment: 1 for a sign of life, 0 for none; or failures in a row
-- that open it, ms that it stays open, and at the most; then the call's times.
local function note_health(scope, was_trial, health, first_ms, total_ms, tokens)
  local use = live_of(scope)
  use[QUIET] = now
  if health[3] then
    open(use, health[1], health[2], health[3], was_trial)
  elseif health[1] == 1 then
    close(use)
  elseif was_trial then
    use[TRIED] = 0
  end
  if total_ms >= 0 then measure(use, first_ms, total_ms, tokens) end
  write(scope)
end

-- Notes a lease that begins; tells whether it is a trial.
local function note_lease(scope, order)
  local use = live_of(scope)
  use[GIVEN] = order
  if use[LEASES] <= 1 then use[QUIET] = now end
  if use[LOOK_AT] <= now then use[LOOK_AT] = now + LOOK_EVERY_MS end
  if use[OPEN_UNTIL] == 0 then return false end
  use[TRIED] = now
  return true
end

-- What a look at a deployment from outside has shown: if it is cut off, it may be tried now, or not
-- before the next look.
local function note_look(scope, is_alive, failures, open_ms, max_open_ms, every_ms)
  local use = live_of(scope)
  if not is_alive then open(use, failures, open_ms, max_open_ms, false) end
  if use[OPEN_UNTIL] > 0 and use[TRIED] == 0 then
    use[OPEN_UNTIL] = is_alive and math.min(use[OPEN_UNTIL], now) or math.max(use[OPEN_UNTIL], now + 1.5 * every_ms)
  end
  if use[FAILED] > 0 then write(scope) end
end
