-- Looks for requests that go on by their records and are nowhere: somebody else has deleted an
-- entry of ours. They are put in once more, marked with the leg they were in, and end as lost.
--
-- Touches  {prefix}:requests:{lane}   read on from where the last look ended; who is found is appended
--          {prefix}:request:{id}      read; entry, routed, rung, rung_entry, due of who is found
--          {prefix}:parked, {prefix}:rung:{seconds}, the hop streams and their groups: read
--          {prefix}:missing           hash of the lanes' places
--          {prefix}:counters          missing
-- ARGV     prefix, lane, most entries to look at, accepted before (Unix ms)
-- Returns  how many entries were looked at
local prefix, lane, before = ARGV[1], ARGV[2], tonumber(ARGV[4])
-- With more at a hop it is left for a quieter time: they are all read, some 2 µs each.
local MOST = 2000
local HOPS = {'gate', 'call', 'respond'}
local OPEN = {queued = true, waiting = true, running = true, retrying = true}
local stream, places = prefix .. ':requests:' .. lane, prefix .. ':missing'

local function field(row, name)
  for f = 1, #row[2], 2 do
    if row[2][f] == name then return row[2][f + 1] end
  end
end

local function id_of(row)
  local payload = field(row, 'event') or ''
  local ours = string.match(payload, '^{"v":1,"id":"([^"]+)"')
  if ours then return ours end
  local ok, event = pcall(cjson.decode, payload)
  local named = ok and type(event) == 'table' and event.request_id
  return type(named) == 'string' and named or 'xadd-' .. lane .. '-' .. row[1]
end

-- Gives the leg of a request that is neither in its lane, nor waiting, nor on a rung.
local function leg_of_missing(id, row)
  local known = redis.call('HMGET', prefix .. ':request:' .. id, 'status', 'entry', 'routed', 'rung', 'rung_entry', 'leg')
  if not OPEN[known[1]] or known[2] ~= lane .. ':' .. row[1] or not known[3] then return nil end
  if redis.call('HEXISTS', prefix .. ':parked', id) == 1 then return nil end
  local climbed = known[5] and redis.call('XRANGE', prefix .. ':rung:' .. known[4], known[5], known[5])[1]
  return not climbed and (known[6] or '1') or nil
end

-- Takes out who stands between two hops. Tells whether that can be known: a worker may yet bring
-- on what it read before it was deleted.
local function find(wanted)
  for _, hop in ipairs(HOPS) do
    local key = prefix .. ':' .. hop
    local there = {}
    if redis.call('XLEN', key) > MOST then return false end
    for _, row in ipairs(redis.call('XRANGE', key, '-', '+')) do
      there[row[1]] = true
      local id = string.match(field(row, 'event') or '', '"id":"([^"]+)"')
      if id then wanted[id] = nil end
    end
    local pending = redis.pcall('XPENDING', key, hop, '-', '+', MOST)
    if pending.err then return false end
    for _, held in ipairs(pending) do
      if not there[held[1]] then return false end
    end
  end
  return true
end

local from = redis.call('HGET', places, lane) or '-'
local rows = redis.call('XRANGE', stream, from, '+', 'COUNT', ARGV[3])
local wanted, last, looked = {}, from, 0
for _, row in ipairs(rows) do
  if tonumber(string.match(row[1], '^%d+')) > before then break end
  looked, last = looked + 1, row[1]
  local id = id_of(row)
  local leg = leg_of_missing(id, row)
  if leg then wanted[id] = {leg = leg, row = row} end
end
if next(wanted) and not find(wanted) then return 0 end

if next(wanted) then redis.call('DEL', prefix .. ':nothing') end
for id, one in pairs(wanted) do
  local entry = redis.call('XADD', stream, '*', 'event', field(one.row, 'event'), 'missing', one.leg)
  local record = prefix .. ':request:' .. id
  redis.call('HDEL', record, 'routed', 'rung', 'rung_entry', 'due')
  redis.call('HSET', record, 'entry', lane .. ':' .. entry)
  redis.call('HINCRBY', prefix .. ':counters', 'missing', 1)
end
if looked == tonumber(ARGV[3]) then
  redis.call('HSET', places, lane, '(' .. last)
elseif from ~= '-' then
  redis.call('HDEL', places, lane)
end
return looked
