-- The mover: takes what has fallen due on the rungs back to the gate, a slice at a time.
--
-- An event that is due further ahead than its rung is long was put there by a clock that has been
-- moved since, or by somebody else: it leaves at once. So does one of which nothing can be read: it
-- ends at the gate. What others wrote out of order holds up nobody behind it.
--
-- Touches  {prefix}:rung:{seconds}   heads that are due are deleted
--          {prefix}:gate             and appended here
--          {prefix}:request:{id}     rung, rung_entry, due
-- ARGV     prefix, most events to move, most that are to stand at the gate, at least so many all
--          the same, then rungs to look at although nothing is noted of them
-- Returns  {events moved, ms until the next one is due or -1, how many stand at the gate}
local prefix = ARGV[1]
local gate = prefix .. ':gate'
-- A write that needs no memory lets those after it pass when Redis is full.
redis.call('DEL', prefix .. ':nothing')

local function field(row, name)
  for i = 1, #row[2], 2 do
    if row[2][i] == name then return row[2][i + 1] end
  end
end

local now = read_ladder_clock(prefix)

local function due_of(row, rung)
  local due = tonumber(field(row, 'due') or '') or 0
  return due <= now + rung * 1000 and due or 0
end

for i = 5, #ARGV do
  local head = redis.pcall('XRANGE', prefix .. ':rung:' .. ARGV[i], '-', '+', 'COUNT', 1)[1]
  if head then redis.call('ZADD', prefix .. ':rungs', 'LT', due_of(head, ARGV[i]), ARGV[i]) end
end

local standing = redis.call('XLEN', gate)
local room = math.max(tonumber(ARGV[4]), math.min(tonumber(ARGV[2]), ARGV[3] - standing))
local moved = 0

local function leave(row)
  local id = field(row, 'id')
  redis.call('XADD', gate, '*', 'event', field(row, 'event') or '')
  if id then redis.pcall('HDEL', prefix .. ':request:' .. id, 'rung', 'rung_entry', 'due') end
end

local function move_from(rung)
  local stream = prefix .. ':rung:' .. rung
  local rows = redis.pcall('XRANGE', stream, '-', '+', 'COUNT', room - moved + 1)
  local gone, head = {}, nil
  for _, row in ipairs(rows) do
    local due = due_of(row, rung)
    if moved < room and due <= now then
      leave(row)
      moved = moved + 1
      gone[#gone + 1] = row[1]
    elseif not head or due < head then
      head = due
    end
  end
  if #gone > 0 then redis.call('XDEL', stream, unpack(gone)) end
  if head then
    redis.call('ZADD', prefix .. ':rungs', head, rung)
  else
    redis.call('ZREM', prefix .. ':rungs', rung)
    -- It is empty now; a stream without entries would look like one in use.
    if #gone > 0 then redis.call('DEL', stream) end
  end
end

local rungs = redis.call('ZRANGE', prefix .. ':rungs', 0, -1, 'WITHSCORES')
for i = 1, #rungs, 2 do
  local rung, head = rungs[i], tonumber(rungs[i + 1])
  if moved < room and (head <= now or head > now + rung * 1000) then move_from(rung) end
end
local earliest = note_earliest(prefix)
return {moved, earliest and math.max(0, earliest - now) or -1, standing + moved}
