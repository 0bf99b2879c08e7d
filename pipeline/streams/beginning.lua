-- Gives the beginning of an answer that was cut, and shuts out whoever wrote it: who goes on with
-- it must know that nothing is added behind what it has read.
--
-- Touches  {prefix}:request:{id}   read: status, turn, cancel; written: continued, the number of the
--                                  call that goes on: calls before it can write no more (`flush.lua`)
--          {prefix}:reply:{id}     read: the deltas of the latest generation
-- ARGV     prefix, id, number of the call
-- Returns  {generation, place of the last entry, lines of each entry}, or nothing where there is no
--          beginning, or where a later call has gone on with it
local prefix, id, number = ARGV[1], ARGV[2], ARGV[3]
local ENDED = {completed = true, failed = true, cancelled = true}
local record = prefix .. ':request:' .. id
local known = redis.call('HMGET', record, 'status', 'turn', 'cancel', 'continued')
if not known[1] or ENDED[known[1]] or known[3] then return false end
if known[4] and tonumber(known[4]) > tonumber(number) then return false end

-- A write that needs no memory lets the one after it pass when Redis is full.
redis.call('DEL', prefix .. ':nothing')
local turn = known[2] or '1'
local entries = redis.call('XRANGE', prefix .. ':reply:' .. id, turn .. '000000000-0', turn .. '999999998-0')
local last = entries[#entries]
if not last then return false end
local generation, place = string.match(last[1], '^%d-(%d%d%d%d%d%d%d%d%d)%-(%d+)$')
local start = turn .. generation .. '-'
local lines = {}
for _, entry in ipairs(entries) do
  if string.sub(entry[1], 1, #start) == start then lines[#lines + 1] = entry[2][2] end
end
redis.call('HSET', record, 'continued', number)
return {tonumber(generation), tonumber(place), lines}
