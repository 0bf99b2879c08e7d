-- Replays dead letters: takes each out of `dead` and puts its request into its lane, in one step.
--
-- Touches  {prefix}:dead                read; the letters are deleted
--          {prefix}:requests:{lane}     the renewed events (written first: that fails cleanly when memory is full)
--          {prefix}:request:{id}        made anew, but for what it was and is known by; of one replayed under another id: replayed_as, letter
--          {prefix}:reply:{id}          deleted: nothing but the closing is in it
--          {prefix}:body:{id}           kept, copied or written
--          {prefix}:session:{session}   joined, or kept
--          {prefix}:idempotency:{hash}  kept, if it is still this request's
-- ARGV     prefix, then for each letter:
--            entry id, request id, id under which it runs, lane, event, "inline" or "kept" or the large body,
--            session or "", n, then n pairs of record fields
-- Returns  for each letter: "replayed", "repeated" and the id it got before, "gone", "busy" (the request is
--          not one that failed: give it another id), "bodyless", or an error text
local prefix = ARGV[1]
local dead = prefix .. ':dead'

local function was_replayed(entry, old, id)
  local known = redis.call('HMGET', prefix .. ':request:' .. old, 'letter', 'replayed_as')
  if known[1] == entry then return 'repeated ' .. (known[2] or old) end
  if redis.call('HGET', prefix .. ':request:' .. id, 'letter') == entry then return 'repeated ' .. id end
  return 'gone'
end

-- Why it cannot be replayed; nothing: it can.
local function obstacle(old, id, body)
  if id == old then
    local status = redis.call('HGET', prefix .. ':request:' .. id, 'status')
    if status and status ~= 'failed' and status ~= 'cancelled' then return 'busy' end
  end
  if body == 'kept' and redis.call('EXISTS', prefix .. ':body:' .. old) == 0 then return 'bodyless' end
end

local function place_body(old, id, body)
  local from, to = prefix .. ':body:' .. old, prefix .. ':body:' .. id
  if body == 'inline' then
    redis.call('DEL', to)
  elseif body == 'kept' then
    if from ~= to then redis.call('COPY', from, to, 'REPLACE') end
    redis.call('PERSIST', to)
  else
    redis.call('SET', to, body)
  end
end

local function turn_of(session, id)
  if session == '' then return 1 end
  local list = prefix .. ':session:' .. session
  local place = redis.call('LPOS', list, id)
  redis.call('PERSIST', list)
  return place and place + 1 or redis.call('RPUSH', list, id)
end

-- A key that a later request has taken belongs to that one.
local function hold_key(hash, id)
  if not hash then return false end
  local key = prefix .. ':idempotency:' .. hash
  if redis.call('HGET', key, 'id') ~= id then return false end
  redis.call('PERSIST', key)
  return true
end

local function make_record(letter, old, id, session, at, fields)
  local record = prefix .. ':request:' .. id
  local known = redis.call('HMGET', record, 'created', 'first_created', 'replays', 'idempotency', 'callback_leg')
  redis.call('DEL', record, prefix .. ':reply:' .. id)
  redis.call('HSET', record, 'entry', at, 'turn', turn_of(session, id), 'inboxes', '',
    'letter', letter, 'replays', (known[3] or 0) + 1, unpack(fields))
  local first = known[2] or known[1]
  if first then redis.call('HSET', record, 'first_created', first) end
  if known[5] then redis.call('HSET', record, 'callback_leg', known[5]) end
  if hold_key(known[4], id) then redis.call('HSET', record, 'idempotency', known[4]) end
  if id == old then return end
  redis.call('HSET', record, 'replay_of', old)
  local origin = prefix .. ':request:' .. old
  if redis.call('EXISTS', origin) == 1 then
    redis.call('HSET', origin, 'replayed_as', id, 'letter', letter)
  end
end

local said = {}
local i = 2
while i <= #ARGV do
  local letter, old, id, lane, event = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  local body, session, n = ARGV[i + 5], ARGV[i + 6], tonumber(ARGV[i + 7])
  local fields = {unpack(ARGV, i + 8, i + 7 + 2 * n)}
  i = i + 8 + 2 * n

  local word
  if #redis.call('XRANGE', dead, letter, letter) == 0 then
    word = was_replayed(letter, old, id)
  else
    word = obstacle(old, id, body)
  end
  if not word then
    local at = redis.pcall('XADD', prefix .. ':requests:' .. lane, '*', 'event', event)
    if type(at) == 'table' then
      word = at.err
    else
      redis.call('XDEL', dead, letter)
      place_body(old, id, body)
      make_record(letter, old, id, session, lane .. ':' .. at, fields)
      word = 'replayed'
    end
  end
  said[#said + 1] = word
end
return said
