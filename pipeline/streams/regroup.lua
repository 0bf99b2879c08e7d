-- Makes the groups of the streams that have none, from the first entry on.
--
-- Where a group was lost, those who ran its entries run them still, and others will read the same
-- entries anew. Calls must be told apart by then: entries of their stream are appended once more,
-- with a mark of how often that was done, so that the late ends of the old ones find nothing.
--
-- Touches  {prefix}:{stream}   the group is made; a calls' stream has its entries appended anew
-- ARGV     prefix, then for each stream: its name, its group, 1 if its hop calls providers
local prefix = ARGV[1]
-- A write that needs no memory lets those after it pass when Redis is full.
redis.call('DEL', prefix .. ':nothing')

local function append_anew(stream, row)
  local fields, again = {}, 1
  for f = 1, #row[2], 2 do
    if row[2][f] == 'again' then
      again = row[2][f + 1] + 1
    else
      fields[#fields + 1] = row[2][f]
      fields[#fields + 1] = row[2][f + 1]
    end
  end
  fields[#fields + 1] = 'again'
  fields[#fields + 1] = again
  redis.call('XADD', stream, '*', unpack(fields))
  redis.call('XDEL', stream, row[1])
end

for i = 2, #ARGV, 3 do
  local stream = prefix .. ':' .. ARGV[i]
  local made = redis.pcall('XGROUP', 'CREATE', stream, ARGV[i + 1], '0', 'MKSTREAM')
  if not made.err and ARGV[i + 2] == '1' then
    for _, row in ipairs(redis.call('XRANGE', stream, '-', '+')) do append_anew(stream, row) end
  end
end
