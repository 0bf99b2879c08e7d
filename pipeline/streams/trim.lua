-- Trims a kept stream by age and by size, never past what a group has still to read or finish.
--
-- Touches  KEYS[1]                 the stream
--          {prefix}:request:{id}, {prefix}:reply:{id}, {prefix}:body:{id}
--                                  of requests that leave `done` because there are too many; not
--                                  of one that is under way again, nor the body of a dead letter
-- ARGV     prefix, oldest id to keep by age, most entries, most to trim now, 1 to drop records
-- Returns  {entries trimmed, group that alone keeps more than the limits allow, or ""}
local stream, prefix = KEYS[1], ARGV[1]
local most, slice, drop = tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5] == '1'

local function parts(id)
  local ms, seq = string.match(id, '^(%d+)%-(%d+)$')
  return tonumber(ms), tonumber(seq)
end
local function before(a, b)
  local a_ms, a_seq = parts(a)
  local b_ms, b_seq = parts(b)
  return a_ms < b_ms or (a_ms == b_ms and a_seq < b_seq)
end
local function after(id)
  local ms, seq = string.match(id, '^(%d+)%-(%d+)$')
  return ms .. '-' .. string.format('%.0f', tonumber(seq) + 1)
end

local length = redis.call('XLEN', stream)
if length == 0 then return {0, ''} end

local wanted = ARGV[2]
local by_age = wanted
if length > most then
  local window = math.min(length - most, 1000)
  local rows = redis.call('XRANGE', stream, '-', '+', 'COUNT', window)
  local by_size = after(rows[#rows][1])
  if before(wanted, by_size) then wanted = by_size end
end

local cut, holder = wanted, ''
for _, group in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
  local name, floor
  for i = 1, #group, 2 do
    if group[i] == 'name' then name = group[i + 1] end
    if group[i] == 'last-delivered-id' then floor = after(group[i + 1]) end
  end
  local pending = redis.call('XPENDING', stream, name)
  if pending[1] > 0 and before(pending[2], floor) then floor = pending[2] end
  if before(floor, cut) then
    cut = floor
    holder = name
  end
end

local rows = redis.call('XRANGE', stream, '-', '(' .. cut, 'COUNT', math.max(slice, 1))
if holder ~= '' then
  -- The group holds something back only if there are entries between its place and the limit.
  if #redis.call('XRANGE', stream, cut, '(' .. wanted, 'COUNT', 1) == 0 then holder = '' end
end
if #rows == 0 or slice == 0 then return {0, holder} end
redis.call('XTRIM', stream, 'MINID', '=', after(rows[#rows][1]))
local ENDED = {completed = true, failed = true, cancelled = true}
local function forget(row)
  local id, event
  for i = 1, #row[2], 2 do
    if row[2][i] == 'id' then id = row[2][i + 1] end
    if row[2][i] == 'event' then event = row[2][i + 1] end
  end
  if not id then return end
  local record = prefix .. ':request:' .. id
  local status = redis.call('HGET', record, 'status')
  if status and not ENDED[status] then return end
  redis.call('UNLINK', record, prefix .. ':reply:' .. id)
  -- Its letter may be replayed for longer; the body has its own time to live.
  event = event or ''
  local has_letter = string.find(event, '"status":"failed"', 1, true) and not string.find(event, '"cause":"limited"', 1, true)
  if not has_letter then
    redis.call('UNLINK', prefix .. ':body:' .. id)
  end
end
if drop then
  for _, row in ipairs(rows) do
    if not before(row[1], by_age) then forget(row) end
  end
end
return {#rows, holder}
