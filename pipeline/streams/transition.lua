-- Carries out the outcomes of a batch of hops, each in one step, and takes new entries at once.
--
-- Touches  {prefix}:{hop}, {prefix}:requests:{lane}   sources: acknowledged; on hop streams deleted, too
--          {prefix}:{hop}                             destinations
--          {prefix}:done, {prefix}:dead               ends
--          {prefix}:request:{id}                      the record
--          {prefix}:reply:{id}, inboxes               the closing
--          {prefix}:body:{id}, {prefix}:session:{s}   given their time to live at the end
--          {prefix}:parked, {prefix}:woken            who waits for capacity, who waits no more
--          {prefix}:rung:{seconds}, {prefix}:rungs    who climbs (`ladder.lua`)
--          {prefix}:cancels                           read: whether anybody was cancelled in the last month
--          {prefix}:counters                          refused transitions, duplicates
-- ARGV     prefix, consumer, replies_s and for who repeats an idempotency key, number of outcomes,
--          then for each outcome:
--            source, group, entry id, request id, verb, its arguments, n, then n pairs of record fields
--              F  destination, event          forward
--              W  event                       wait: park it, unless it was woken in between
--              C  rung in seconds, event      climb
--              E  event, letter or "", closing, body ttl_s, session or ""     end
--          then number of takes, and for each: source, group, count;
--          then how many entries to take from the lanes, how many of them to leave to default and to low
-- Returns  {indices of refused outcomes, entries taken in the form of XREADGROUP, indices of those whose
--          request a producer had written before}
local prefix, me = ARGV[1], ARGV[2]
local replies_s, kept_s = string.match(ARGV[3], '^(%d+) (%d+)$')
replies_s = tonumber(replies_s)
local CLOSING = '999999999-0'
local at = 5
local refused, repeated = {}, {}

-- A write that needs no memory lets the writes after it pass when Redis is full: what was
-- accepted must be able to end.
if tonumber(ARGV[4]) > 0 then redis.call('DEL', prefix .. ':nothing') end

local inboxes = {}
local function tell(inbox_names, id, entry, closing, record)
  for name in string.gmatch(inbox_names, '%S+') do
    local inbox = string.gsub(name, '%+$', '')
    local frame = closing
    if inbox ~= name then
      frame = closing .. '\n' .. (redis.call('HGET', record, 'response') or '')
    end
    inboxes[inbox] = inboxes[inbox] or {}
    local box = inboxes[inbox]
    box[#box + 1] = id
    box[#box + 1] = entry .. '\n' .. frame
  end
end

local function finish(id, record, event, letter, closing, body_ttl_s, session)
  redis.call('XADD', prefix .. ':done', '*', 'event', event, 'id', id)
  if letter ~= '' then redis.call('XADD', prefix .. ':dead', '*', 'event', letter, 'id', id) end
  local known = redis.call('HMGET', record, 'turn', 'inboxes', 'idempotency')
  local entry = (known[1] or '1') .. CLOSING
  local reply = prefix .. ':reply:' .. id
  redis.pcall('XADD', reply, entry, 'event', closing)
  if known[2] then tell(known[2], id, entry, closing, record) end
  local keep_s = replies_s
  if known[3] then
    keep_s = math.max(keep_s, tonumber(kept_s))
    redis.call('EXPIRE', prefix .. ':idempotency:' .. known[3], keep_s)
  end
  redis.call('EXPIRE', record, keep_s)
  redis.call('EXPIRE', reply, keep_s)
  if body_ttl_s ~= '0' then redis.call('EXPIRE', prefix .. ':body:' .. id, body_ttl_s) end
  if session ~= '' then
    -- A later request of the session may not have ended.
    local list = prefix .. ':session:' .. session
    if redis.call('LINDEX', list, -1) == id then redis.call('EXPIRE', list, replies_s) end
  end
end

-- What a request's lane entry is to us: 'ours' as accepted over HTTP, 'new' from a direct
-- producer, or 'repeated': a producer that repeats a write gets one answer. So does an entry that
-- was routed before and is read again because its group was lost and made anew.
local function origin(source, record, entry)
  local mine = string.sub(source, 10) .. ':' .. entry
  local known = redis.call('HMGET', record, 'entry', 'routed')
  if known[2] or (known[1] and known[1] ~= mine) then return 'repeated' end
  redis.call('HSET', record, 'entry', mine, 'routed', 1)
  return known[1] and 'ours' or 'new'
end

-- Accepting over HTTP has done this; a direct producer's request joins its session here.
local function join_session(id, record)
  local session = redis.call('HGET', record, 'session')
  if session then
    local turn = redis.call('RPUSH', prefix .. ':session:' .. session, id)
    redis.call('PERSIST', prefix .. ':session:' .. session)
    redis.call('HSET', record, 'turn', turn)
  end
end

local settled = {}
local function settle(source, group, entry)
  local key = source .. ' ' .. group
  local list = settled[key]
  if not list then
    list = {source = source, group = group}
    settled[key] = list
  end
  list[#list + 1] = entry
end

-- Who is cancelled neither waits, nor climbs, nor is called: it is appended with a mark.
local anybody_cancelled
local function ends_cancelled(stream, event, record)
  if anybody_cancelled == nil then anybody_cancelled = redis.call('EXISTS', prefix .. ':cancels') == 1 end
  if anybody_cancelled and redis.call('HEXISTS', record, 'cancel') == 1 then
    redis.call('XADD', stream, '*', 'event', event, 'cancelled', 1)
    return true
  end
  return false
end

local now, wall
local climbed = {}
local function climb(id, record, rung, event)
  if ends_cancelled(prefix .. ':gate', event, record) then return end
  if not now then now, wall = read_ladder_clock(prefix) end
  local due = string.format('%.0f', now + rung * 1000)
  local at = redis.call('XADD', prefix .. ':rung:' .. rung, '*', 'event', event, 'due', due, 'id', id)
  redis.call('HSET', record, 'rung', rung, 'rung_entry', at, 'due', string.format('%.3f', wall / 1000 + rung))
  climbed[rung] = due
end

local WORDS = {F = 2, W = 1, C = 2, E = 5}
for index = 1, tonumber(ARGV[4]) do
  local source, group, entry, id, verb = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  local word = at + 5
  local count = word + WORDS[verb]
  local first, last = count + 1, count + 2 * ARGV[count]
  at = last + 1

  local stream = prefix .. ':' .. source
  local record = prefix .. ':request:' .. id
  -- Its group may have been destroyed: an error here would leave half a batch done.
  local held = redis.pcall('XPENDING', stream, group, entry, entry, 1, me)
  if held.err or #held == 0 then
    refused[#refused + 1] = index
  else
    local from = 'hop'
    if string.sub(source, 1, 9) == 'requests:' then from = origin(source, record, entry) end
    if from == 'repeated' then
      repeated[#repeated + 1] = index
      redis.call('HINCRBY', prefix .. ':counters', 'duplicates', 1)
    else
      if last > first then redis.call('HSET', record, unpack(ARGV, first, last)) end
      if from == 'new' then join_session(id, record) end
      if verb == 'F' then
        local to = prefix .. ':' .. ARGV[word]
        if ARGV[word] ~= 'call' or not ends_cancelled(to, ARGV[word + 1], record) then
          redis.call('XADD', to, '*', 'event', ARGV[word + 1])
        end
      elseif verb == 'E' then
        finish(id, record, unpack(ARGV, word, word + 4))
      elseif verb == 'C' then
        climb(id, record, ARGV[word], ARGV[word + 1])
      elseif ends_cancelled(stream, ARGV[word], record) then
        redis.call('HDEL', prefix .. ':woken', id)
      elseif redis.call('HDEL', prefix .. ':woken', id) == 1 then
        redis.call('XADD', stream, '*', 'event', ARGV[word])
      else
        redis.call('HSET', prefix .. ':parked', id, ARGV[word])
      end
    end
    settle(source, group, entry)
  end
end
for _, list in pairs(settled) do
  local stream = prefix .. ':' .. list.source
  redis.call('XACK', stream, list.group, unpack(list))
  if string.sub(list.source, 1, 9) ~= 'requests:' then redis.call('XDEL', stream, unpack(list)) end
end
if now then
  for rung, due in pairs(climbed) do redis.call('ZADD', prefix .. ':rungs', 'LT', due, rung) end
  note_earliest(prefix)
end
if #refused > 0 then redis.call('HINCRBY', prefix .. ':counters', 'refused', #refused) end

if next(inboxes) then
  local time = redis.call('TIME')
  local oldest = string.format('%.0f', time[1] * 1000 - 15000)
  for inbox, frames in pairs(inboxes) do
    redis.pcall('XADD', prefix .. ':inbox:' .. inbox, 'NOMKSTREAM', 'MINID', '~', oldest, '*', unpack(frames))
  end
end

local taken = {}
local function take(source, group, count)
  if count < 1 then return 0 end
  local got = redis.pcall('XREADGROUP', 'GROUP', group, me, 'COUNT', count, 'STREAMS', prefix .. ':' .. source, '>')
  if not got or got.err then return 0 end
  taken[#taken + 1] = got[1]
  return #got[1][2]
end

local takes = tonumber(ARGV[at])
for i = at + 1, at + 3 * takes, 3 do take(ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2])) end
at = at + 3 * takes

-- High goes before default before low, and one slot in twenty stays for each lower lane.
local slots, default, low = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
if slots > 0 then
  local free = slots - take('requests:high', 'route', slots - default - low)
  free = free - take('requests:default', 'route', free - low)
  free = free - take('requests:low', 'route', free)
  if free > 0 and default + low > 0 then
    free = free - take('requests:high', 'route', free)
    take('requests:default', 'route', free)
  end
end
return {refused, taken, repeated}
