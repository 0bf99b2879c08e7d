-- Gives a worker's sign of life, also when memory is full: one that cannot is robbed alive.
--
-- Touches  KEYS[1] {prefix}:worker:{consumer}, KEYS[2] {prefix}:workers, KEYS[3] {prefix}:clock
-- ARGV     prefix, consumer, facts, its life in ms
--          {prefix}:pulse      the last sign of any worker; it lapses before any worker's own
--          {prefix}:settling   while it is there, nothing is claimed
-- Returns  {1 if the last sign was still there, Unix seconds, microseconds, clock offset or ""}
local pulse = ARGV[1] .. ':pulse'
local pulse_ms = math.ceil(ARGV[4] * 2 / 3)
-- The first write needs no memory, which lets the next ones pass when Redis is full.
local pulsed = redis.call('PEXPIRE', pulse, pulse_ms) == 1
local before = redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4], 'GET')
if not before then redis.call('SADD', KEYS[2], ARGV[2]) end
-- When Redis was away or stood still, all signs lapse together: who lives needs the time to show it.
if not pulsed then
  redis.call('SET', pulse, 1, 'PX', pulse_ms)
  redis.call('SET', ARGV[1] .. ':settling', 1, 'PX', ARGV[4])
end
local time = redis.call('TIME')
return {before and 1 or 0, time[1], time[2], redis.call('GET', KEYS[3]) or ''}
