-- Takes a batch of past events into the flow anew and notes how far their replay has come.
--
-- Touches  {prefix}:replay:{name}         cursor, counts, updated, finished
--          {prefix}:replay:{name}:taken   the requests it has taken, each once
--          {prefix}:requests:{lane}       the new entries (written first: it fails cleanly when memory is full)
--          {prefix}:request:{new id}      their records
--          {prefix}:body:{new id}         their bodies, when too large to travel; read: {prefix}:body:{old id}
--          {prefix}:session:{session}     joined
--          {prefix}:request:{old id}      replayed_as, where the record still is
-- ARGV     prefix, name, the cursor it has to stand at, the next one, seconds to keep it all,
--          the time in Unix seconds, 1 when it is finished with this,
--          seen, matched, without_body, superseded: to be added; then for each event:
--          lane, old id, new id, event, body: "" or the text or "=" (copy that of the old id),
--          session or "", 1 to tell the old record, n, then n pairs of record fields
-- Returns  1, or 0: it stands elsewhere, and nothing was done
local prefix, name, now = ARGV[1], ARGV[2], ARGV[6]
local replay = prefix .. ':replay:' .. name
local taken = replay .. ':taken'
if redis.call('HGET', replay, 'cursor') ~= ARGV[3] then return 0 end

local function body(old, new, text)
  if text == '=' then
    redis.call('COPY', prefix .. ':body:' .. old, prefix .. ':body:' .. new)
    redis.call('PERSIST', prefix .. ':body:' .. new)
  elseif text ~= '' then
    redis.call('SET', prefix .. ':body:' .. new, text)
  end
end

local function join(session, id)
  if session == '' then return 1 end
  local key = prefix .. ':session:' .. session
  redis.call('PERSIST', key)
  return redis.call('RPUSH', key, id)
end

local replayed, repeated = 0, 0
local i = 12
while i <= #ARGV do
  local lane, old, new, event, text = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  local session, tell, last = ARGV[i + 5], ARGV[i + 6], i + 7 + 2 * ARGV[i + 7]
  local record = prefix .. ':request:' .. new
  if redis.call('SISMEMBER', taken, old) == 1 or redis.call('EXISTS', record) == 1 then
    repeated = repeated + 1
  else
    local entry = redis.call('XADD', prefix .. ':requests:' .. lane, '*', 'event', event)
    redis.call('SADD', taken, old)
    body(old, new, text)
    redis.call('HSET', record, 'entry', lane .. ':' .. entry, 'turn', join(session, new), 'inboxes', '',
      'replay_of', old, unpack(ARGV, i + 8, last))
    if tell == '1' and redis.call('EXISTS', prefix .. ':request:' .. old) == 1 then
      redis.call('HSET', prefix .. ':request:' .. old, 'replayed_as', new)
    end
    replayed = replayed + 1
  end
  i = last + 1
end

redis.call('HSET', replay, 'cursor', ARGV[4], 'updated', now)
if ARGV[7] == '1' then redis.call('HSET', replay, 'finished', now) end
local counts = {seen = ARGV[8], matched = ARGV[9], without_body = ARGV[10], superseded = ARGV[11],
  replayed = replayed, repeated = repeated}
for field, count in pairs(counts) do
  if count ~= 0 and count ~= '0' then redis.call('HINCRBY', replay, field, count) end
end
redis.call('EXPIRE', replay, ARGV[5])
redis.call('EXPIRE', taken, ARGV[5])
return 1
