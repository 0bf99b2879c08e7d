-- Gives a worker's sign of life, also when memory is full: one that cannot is robbed alive.
--
-- Touches  KEYS[1] {prefix}:worker:{consumer}, KEYS[2] {prefix}:workers, KEYS[3] {prefix}:clock
-- ARGV     prefix, consumer, facts, its life in ms
-- Returns  {1 if the last sign was still there, Unix seconds, microseconds, clock offset or ""}
redis.call('DEL', ARGV[1] .. ':nothing')
local before = redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4], 'GET')
if not before then redis.call('SADD', KEYS[2], ARGV[2]) end
local time = redis.call('TIME')
return {before and 1 or 0, time[1], time[2], redis.call('GET', KEYS[3]) or ''}
