-- Tells how long a stream is and how far behind each of its groups is.
--
-- Touches  {prefix}:{stream}   read
-- ARGV     prefix, stream, 1 where entries are kept after they were read, most entries to count
-- Returns  {length, groups: {name, consumers, pending, lag} each}
--
-- Redis's own lag is not read: 6.2 has none, and later it is nil after most deletions. Where every
-- entry that was read to its end is deleted, what is neither pending nor read is the difference.
local stream = ARGV[1] .. ':' .. ARGV[2]
local kept, most = ARGV[3] == '1', tonumber(ARGV[4])
if redis.call('TYPE', stream).ok ~= 'stream' then return {0, {}} end
local length = redis.call('XLEN', stream)
local groups = {}
for _, group in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
  local known = {}
  for i = 1, #group, 2 do known[group[i]] = group[i + 1] end
  local lag = length - known.pending
  if kept then
    lag = #redis.call('XRANGE', stream, '(' .. known['last-delivered-id'], '+', 'COUNT', most)
  end
  groups[#groups + 1] = {known.name, known.consumers, known.pending, lag}
end
return {length, groups}
