-- Accepts requests: all or nothing for each, and once for each request id however often asked.
--
-- Touches  {prefix}:requests:{lane}   the request's entry (written first: it fails cleanly when memory is full)
--          {prefix}:request:{id}      its record
--          {prefix}:body:{id}         its body, when too large to travel
--          {prefix}:session:{session} its session's list of requests
--          {prefix}:idempotency:{key} who holds its idempotency key: id, fingerprint
-- ARGV     prefix, then for each request:
--          lane, id, event, body or "", inbox or "", session or "", once or "", n, then n pairs of record fields
--          once is `key fingerprint on_duplicate since ttl_s`: a holder that was accepted before `since`
--          and has ended counts no more; the key lives `ttl_s` (0: until a request's end says how long)
-- Returns  for each request: the entry's id, or an error text; or of the holder of its key, when it was
--          not accepted: `conflict`, `busy {since when}`, `running {id}` or `completed {id}`
local prefix = ARGV[1]
local ONCE = '^(%S+) (%S+) (%S+) (%S+) (%S+)$'

-- What became of the request that holds a key; nothing: the key is free.
local function holder(key, fingerprint, on_duplicate, since)
  local known = redis.call('HMGET', key, 'id', 'fingerprint')
  local id = known[1]
  if not id or on_duplicate == 'renew' then return nil end
  local found = redis.call('HMGET', prefix .. ':request:' .. id, 'status', 'created', 'cancel')
  local status, created, cancelled = found[1], found[2] or '0', found[3]
  if not status or status == 'failed' or status == 'cancelled' then return nil end
  if known[2] ~= fingerprint then return 'conflict' end
  if status == 'completed' then
    if tonumber(created) < tonumber(since) then return nil end
    return 'completed ' .. id
  end
  -- Who is being cancelled will have no answer to share.
  if on_duplicate == 'join' then
    if cancelled then return nil end
    return 'running ' .. id
  end
  if on_duplicate == 'attach' and not cancelled then return 'running ' .. id end
  return 'busy ' .. created
end

local replies = {}
local i = 2
while i <= #ARGV do
  local lane, id, event, body = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local inbox, session, once, n = ARGV[i + 4], ARGV[i + 5], ARGV[i + 6], tonumber(ARGV[i + 7])
  local fields = {}
  for f = 1, 2 * n do fields[f] = ARGV[i + 7 + f] end
  i = i + 8 + 2 * n

  local record = prefix .. ':request:' .. id
  local reply = redis.call('HGET', record, 'entry')
  local key, fingerprint, on_duplicate, since, ttl_s
  if not reply and once ~= '' then
    key, fingerprint, on_duplicate, since, ttl_s = string.match(once, ONCE)
    key = prefix .. ':idempotency:' .. key
    reply = holder(key, fingerprint, on_duplicate, since)
  end
  if not reply then
    reply = redis.pcall('XADD', prefix .. ':requests:' .. lane, '*', 'event', event)
    if type(reply) == 'table' then
      reply = reply.err
    else
      reply = lane .. ':' .. reply
      local turn = 1
      if session ~= '' then
        turn = redis.call('RPUSH', prefix .. ':session:' .. session, id)
        redis.call('PERSIST', prefix .. ':session:' .. session)
      end
      redis.call('HSET', record, 'entry', reply, 'turn', turn, 'inboxes', inbox, unpack(fields))
      if body ~= '' then redis.call('SET', prefix .. ':body:' .. id, body) end
      if key then
        -- An earlier holder's time to live must not take it away.
        redis.call('DEL', key)
        redis.call('HSET', key, 'id', id, 'fingerprint', fingerprint)
        if ttl_s ~= '0' then redis.call('EXPIRE', key, ttl_s) end
      end
    end
  end
  replies[#replies + 1] = reply
end
return replies
