-- Refreshes a liveness key, also when memory is full: a worker that cannot is robbed alive.
-- KEYS: 1 liveness key, 2 a key that is never written. ARGV: 1 its life in ms.
-- Returns 1 if the key was there.
if redis.call("PEXPIRE", KEYS[1], ARGV[1]) == 1 then
    return 1
end
redis.call("DEL", KEYS[2])
redis.call("SET", KEYS[1], "1", "PX", ARGV[1])
return 0
