-- Accepts requests: all or nothing for each, and once for each request id however often asked.
--
-- Touches  {prefix}:requests:{lane}   the request's entry (written first: it fails cleanly when memory is full)
--          {prefix}:request:{id}      its record
--          {prefix}:body:{id}         its body, when too large to travel
--          {prefix}:session:{session} its session's list of requests
-- ARGV     prefix, then for each request:
--          lane, id, event, body or "", inbox or "", session or "", n, then n pairs of record fields
-- Returns  for each request: the entry's id, or an error text
local prefix = ARGV[1]
local replies = {}
local i = 2
while i <= #ARGV do
  local lane, id, event, body = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local inbox, session, n = ARGV[i + 4], ARGV[i + 5], tonumber(ARGV[i + 6])
  local fields = {}
  for f = 1, 2 * n do fields[f] = ARGV[i + 6 + f] end
  i = i + 7 + 2 * n

  local record = prefix .. ':request:' .. id
  local entry = redis.call('HGET', record, 'entry')
  if not entry then
    entry = redis.pcall('XADD', prefix .. ':requests:' .. lane, '*', 'event', event)
    if type(entry) == 'table' then
      entry = entry.err
    else
      entry = lane .. ':' .. entry
      local turn = 1
      if session ~= '' then
        turn = redis.call('RPUSH', prefix .. ':session:' .. session, id)
      end
      redis.call('HSET', record, 'entry', entry, 'turn', turn, 'inboxes', inbox, unpack(fields))
      if body ~= '' then redis.call('SET', prefix .. ':body:' .. id, body) end
    end
  end
  replies[#replies + 1] = entry
end
return replies
