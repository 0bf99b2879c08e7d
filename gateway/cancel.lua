-- Marks a request that has not ended as cancelled by its client; the hops look at it.
--
-- Touches  {prefix}:request:{id}   cancel
-- ARGV     prefix, id, reason
-- Returns  1 marked, 0 unknown or ended
local record = ARGV[1] .. ':request:' .. ARGV[2]
local ENDED = {completed = true, failed = true, cancelled = true}
local status = redis.call('HGET', record, 'status')
if not status or ENDED[status] then return 0 end
-- A write that needs no memory lets the next one pass when Redis is full.
redis.call('DEL', ARGV[1] .. ':nothing')
redis.call('HSET', record, 'cancel', ARGV[3])
return 1
