-- Carries out the outcomes of a batch of hops, each in one step, and takes new entries at once.
--
-- Touches  {prefix}:{hop}, {prefix}:requests:{lane}   sources: acknowledged; on hop streams deleted, too
--          {prefix}:{hop}                             destinations
--          {prefix}:done, {prefix}:dead               ends
--          {prefix}:request:{id}                      the record
--          {prefix}:reply:{id}, inboxes               the closing
--          {prefix}:body:{id}, {prefix}:session:{s}   given their time to live at the end
--          {prefix}:parked                            who waits for capacity
--          {prefix}:counters                          refused transitions, duplicates
-- ARGV     prefix, consumer, replies_s, number of outcomes, then for each outcome:
--            source, group, entry id, request id, verb, its arguments, n, then n pairs of record fields
--              F  destination, event          forward
--              W  event                       wait: park it, unless it was woken in between
--              E  event, letter or "", closing, body ttl_s, session or ""     end
--          then number of takes, and for each: source, group, count;
--          then how many entries to take from the lanes
-- Returns  {indices of refused outcomes, entries taken in the form of XREADGROUP}
local prefix, me, replies_s = ARGV[1], ARGV[2], tonumber(ARGV[3])
local LANES = {'high', 'default', 'low'}
local CLOSING = '999999999-0'
local at = 4
local refused = {}

local function argument()
  at = at + 1
  return ARGV[at]
end

-- A write that needs no memory lets the writes after it pass when Redis is full: what was
-- accepted must be able to end.
if tonumber(ARGV[4]) > 0 then redis.call('DEL', prefix .. ':nothing') end

local inboxes = {}
local function tell(record, id, entry, closing)
  local known = redis.call('HMGET', record, 'inboxes', 'response')
  for name in string.gmatch(known[1] or '', '%S+') do
    local inbox = string.gsub(name, '%+$', '')
    local frame = closing
    if inbox ~= name and known[2] then frame = closing .. '\n' .. known[2] end
    inboxes[inbox] = inboxes[inbox] or {}
    local box = inboxes[inbox]
    box[#box + 1] = id
    box[#box + 1] = entry .. '\n' .. frame
  end
end

local function finish(id, record, event, letter, closing, body_ttl_s, session)
  redis.call('XADD', prefix .. ':done', '*', 'event', event, 'id', id)
  if letter ~= '' then redis.call('XADD', prefix .. ':dead', '*', 'event', letter, 'id', id) end
  local turn = redis.call('HGET', record, 'turn') or '1'
  local entry = turn .. CLOSING
  redis.pcall('XADD', prefix .. ':reply:' .. id, entry, 'event', closing)
  tell(record, id, entry, closing)
  redis.call('EXPIRE', record, replies_s)
  redis.call('EXPIRE', prefix .. ':reply:' .. id, replies_s)
  redis.call('EXPIRE', prefix .. ':body:' .. id, body_ttl_s)
  redis.call('HDEL', prefix .. ':parked', id)
  if session ~= '' then redis.call('EXPIRE', prefix .. ':session:' .. session, replies_s) end
end

local function duplicate(source, record, entry)
  -- A producer that repeats a write gets one answer: the first entry is the request.
  local mine = string.sub(source, 10) .. ':' .. entry
  local known = redis.call('HGET', record, 'entry')
  if not known then
    redis.call('HSET', record, 'entry', mine)
    return false
  end
  return known ~= mine
end

local function join_session(id, record)
  -- Accepting over HTTP has done this; a direct producer's request joins its session here.
  local known = redis.call('HMGET', record, 'session', 'turn')
  if known[1] and known[1] ~= '' and not known[2] then
    redis.call('HSET', record, 'turn', redis.call('RPUSH', prefix .. ':session:' .. known[1], id))
  end
end

local outcomes = tonumber(ARGV[4])
for index = 1, outcomes do
  local source, group, entry, id, verb = argument(), argument(), argument(), argument(), argument()
  local arguments = {}
  local count = (verb == 'F' and 2) or (verb == 'W' and 1) or 5
  for a = 1, count do arguments[a] = argument() end
  local n = tonumber(argument())
  local fields = {}
  for f = 1, 2 * n do fields[f] = argument() end

  local stream = prefix .. ':' .. source
  local record = prefix .. ':request:' .. id
  local from_lane = string.sub(source, 1, 9) == 'requests:'
  if #redis.call('XPENDING', stream, group, entry, entry, 1, me) == 0 then
    refused[#refused + 1] = index
  else
    if from_lane and duplicate(source, record, entry) then
      redis.call('HINCRBY', prefix .. ':counters', 'duplicates', 1)
    else
      if n > 0 then redis.call('HSET', record, unpack(fields)) end
      if from_lane then join_session(id, record) end
      if verb == 'F' then
        redis.call('XADD', prefix .. ':' .. arguments[1], '*', 'event', arguments[2])
      elseif verb == 'W' then
        if redis.call('HGET', prefix .. ':parked', id) == 'woken' then
          redis.call('HDEL', prefix .. ':parked', id)
          redis.call('XADD', stream, '*', 'event', arguments[1])
        else
          redis.call('HSET', prefix .. ':parked', id, arguments[1])
        end
      else
        finish(id, record, unpack(arguments))
      end
    end
    redis.call('XACK', stream, group, entry)
    if not from_lane then redis.call('XDEL', stream, entry) end
  end
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

local takes = tonumber(argument())
for _ = 1, takes do
  local source, group, count = argument(), argument(), tonumber(argument())
  take(source, group, count)
end

-- High goes before default before low, and one slot in twenty stays for each lower lane.
local slots, reserve = tonumber(argument()), tonumber(argument())
if slots > 0 then
  local free = slots - take('requests:high', 'route', slots - 2 * reserve)
  free = free - take('requests:default', 'route', free - reserve)
  free = free - take('requests:low', 'route', free)
  if free > 0 and reserve > 0 then
    free = free - take('requests:high', 'route', free)
    take('requests:default', 'route', free)
  end
end
return {refused, taken}
