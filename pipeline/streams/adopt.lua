-- Takes up entries that are ours and that we do not run: their replies were lost, or Redis has
-- forgotten that we were done with them. In that case they were run before: they count as delivered
-- once more, which tells the later run's deltas from the first one's.
--
-- Touches  {prefix}:{stream}     claimed, as long as they are still ours
--          {prefix}:counters     those that somebody else has deleted
-- ARGV     prefix, consumer, stream, group, then entry ids
-- Returns  {entry id, fields, delivery} for each
local prefix, me, group = ARGV[1], ARGV[2], ARGV[4]
local stream = prefix .. ':' .. ARGV[3]
redis.call('DEL', prefix .. ':nothing')
local adopted = {}
for i = 5, #ARGV do
  local entry = ARGV[i]
  local held = redis.pcall('XPENDING', stream, group, entry, entry, 1, me)
  local row = redis.call('XRANGE', stream, entry, entry)[1]
  if not held.err and held[1] and row then
    redis.call('XCLAIM', stream, group, me, 0, entry)
    adopted[#adopted + 1] = {entry, row[2], held[1][4] + 1}
  elseif not held.err and held[1] then
    redis.call('XACK', stream, group, entry)
    redis.call('HINCRBY', prefix .. ':counters', 'lost', 1)
  end
end
return adopted
