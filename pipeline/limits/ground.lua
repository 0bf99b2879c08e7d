-- The ground of all scripts of the limits: their clock, and what is read once and written once.
--
-- Touches (all with the prefix of the limits, which have a tag of their own)
--   {limits}:time             the limits' clock: its last reading, and its lead over Redis's clock
--   {limits}:caps             hash of limits by name, and `gate`: what the waiting rooms go by
--   {limits}:use:{scope}      what of a scope's limits is used
--   KEYS[1]                   {limits}
--   KEYS[2]                   the virtual clock's offset, absent outside tests
local L = KEYS[1]
-- A write that needs no memory lets those after it pass when Redis is full.
redis.call('DEL', L .. ':nothing')

-- Redis's clock in ms, and the limits' own: it never goes back, so that a clock that is set back
-- makes nobody wait. Days, deadlines and what people read go by the wall.
local time = redis.call('TIME')
local wall = time[1] * 1000 + time[2] / 1000 + 1000 * tonumber(redis.call('GET', KEYS[2]) or '0')
local last, lead = string.match(redis.call('GET', L .. ':time') or '0 0', '^(%S+) (%S+)$')
local now = wall + lead
if now < tonumber(last) then
  lead = lead + last - now
  now = tonumber(last)
end
local today = math.floor(wall / 86400000)
local DAY_MS, MINUTE_MS = 86400000, 60000
local NEVER = math.huge

-- A limit: requests and tokens per minute and day, -1 for none.
local RPM, BURST, TPM, RPD, TPD, CONCURRENCY, WINDOW, WINDOW_MS = 1, 2, 3, 4, 5, 6, 7, 8
local UNLIMITED = {-1, -1, -1, -1, -1, -1, -1, -1}

-- What is used of a scope.
--   REQUESTS_FULL, TOKENS_FULL   time at which the bucket will be as it was at rest (GCRA)
--   LEASES                       calls under way
--   DAY, DAY_REQUESTS, DAY_TOKENS
--   REST                         time until which the provider wants to be left alone
--   TURN                         how often a key was given out
--   FOUND_RPM, FOUND_TPM, FOUND_CONCURRENCY   limits that the provider showed, -1 for none
--   FOUND_AT                     when one of them last moved
--   ANSWER                       mean of an answer's tokens
--   RATIO                        counted tokens of a prompt to estimated ones, mean
--   WINDOW_TOKENS                tokens in the sliding window
--   MINUTE, REQUESTS, TOKENS, REQUESTS_BEFORE, TOKENS_BEFORE   what went in this minute and the last
--   HOLDER, HELD_UNTIL           room whose large head has this deployment's capacity to itself
--   HELD                         tickets that wait for this scope
--   RESERVED, RESERVED_TOKENS    of those in waiting rooms: they count for the day they go on
--   RESTED                       when tokens were taken after a minute in which none counted
--   BLAST, BLAST_AT              calls under way when concurrency was first refused, less those of
--                                them that were refused; when that was
-- A deployment's scope has these too, from its first lease on:
--   FAILED                       failed calls in a row
--   OPEN_UNTIL, TRIPS, TRIED     time until which it is cut off, 0 if it is not; how many trials
--                                have failed since; when a call was let through to try it
--   FIRST_MS, FIRST_DEV          time to the first token: mean, and mean deviation from it
--   TOKEN_MS                     time for each token after it
--   MEASURED, QUIET              when it was last measured, since when no call of it has ended
--   GIVEN                        number of the ticket that it was given to last
--   LOOK_AT                      when it may be looked at again although others are faster
local REQUESTS_FULL, TOKENS_FULL, LEASES, DAY, DAY_REQUESTS, DAY_TOKENS, REST, TURN = 1, 2, 3, 4, 5, 6, 7, 8
local FOUND_RPM, FOUND_TPM, FOUND_CONCURRENCY, FOUND_AT, ANSWER, RATIO, WINDOW_TOKENS = 9, 10, 11, 12, 13, 14, 15
local MINUTE, REQUESTS, TOKENS, REQUESTS_BEFORE, TOKENS_BEFORE = 16, 17, 18, 19, 20
local HOLDER, HELD_UNTIL, HELD, RESERVED, RESERVED_TOKENS, RESTED = 21, 22, 23, 24, 25, 26
local BLAST, BLAST_AT = 27, 28
local FAILED, OPEN_UNTIL, TRIPS, TRIED, FIRST_MS, FIRST_DEV, TOKEN_MS = 29, 30, 31, 32, 33, 34, 35
local MEASURED, QUIET, GIVEN, LOOK_AT = 36, 37, 38, 39
-- State that nobody touched for two days says nothing any more. Its expiry is set with the first
-- change of a day: that costs as much again as the change.
local USE_TTL_S = 259200

local caps, uses, changed, fresh = {}, {}, {}, {}
-- How many changes there were; `changed` has of each scope which one was its last.
local edits = 0

-- Carries out a command for a list of any length.
local function call_many(command, key, list)
  for first = 1, #list, 1000 do
    redis.call(command, key, unpack(list, first, math.min(first + 999, #list)))
  end
end

local use_prefix = L .. ':use:'

-- Reads what is not read yet: `names` of limits in one call, `scopes` in another.
local function fetch(names, scopes)
  local wanted = {}
  for _, name in ipairs(names) do
    if not caps[name] then
      caps[name] = UNLIMITED
      wanted[#wanted + 1] = name
    end
  end
  if #wanted > 0 then
    for i, packed in ipairs(redis.call('HMGET', L .. ':caps', unpack(wanted))) do
      if packed then caps[wanted[i]] = cmsgpack.unpack(packed) end
    end
  end
  local missing, keys = {}, {}
  for _, scope in ipairs(scopes) do
    if not uses[scope] then
      uses[scope] = true
      missing[#missing + 1] = scope
      keys[#keys + 1] = use_prefix .. scope
    end
  end
  if #keys == 0 then return end
  for i, packed in ipairs(redis.call('MGET', unpack(keys))) do
    local use = packed and cmsgpack.unpack(packed)
      or {0, 0, 0, today, 0, 0, 0, 0, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0, '', 0, 0, 0, 0, 0, 0, 0}
    if not packed then fresh[missing[i]] = true end
    if use[DAY] ~= today then
      fresh[missing[i]] = true
      use[DAY], use[DAY_REQUESTS], use[DAY_TOKENS] = today, use[RESERVED], use[RESERVED_TOKENS]
    end
    uses[missing[i]] = use
  end
end

local function use_of(scope)
  if not uses[scope] then fetch({}, {scope}) end
  return uses[scope]
end

local function cap_of(name)
  if not caps[name] then fetch({name}, {}) end
  return caps[name]
end

local function write(scope)
  edits = edits + 1
  changed[scope] = edits
end

local function save_time()
  redis.call('SET', L .. ':time', string.format('%.3f %.3f', now, lead))
end

local function save()
  for scope in pairs(changed) do
    local key, packed = use_prefix .. scope, cmsgpack.pack(uses[scope])
    if fresh[scope] then redis.call('SET', key, packed, 'EX', USE_TTL_S) else redis.call('SET', key, packed, 'KEEPTTL') end
  end
  save_time()
end

-- What the waiting rooms go by: ms until a class ages, most tickets in a room, ms until a dead
-- key is tried again.
local GATE = cmsgpack.unpack(redis.call('HGET', L .. ':caps', 'gate') or cmsgpack.pack({60000, 100000, 600000}))
local AGING_MS, MOST_WAITING, PROBE_MS = GATE[1], GATE[2], GATE[3]
