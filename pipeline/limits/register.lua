-- Makes a room's plan known.
--
-- Touches  {limits}:plan:{room}, {limits}:served:{upstream}, {limits}:rooms
-- ARGV     room, plan, upstreams
local L, room = KEYS[1], ARGV[1]
redis.call('DEL', L .. ':nothing')
for i = 3, #ARGV do
  redis.call('SADD', L .. ':served:' .. ARGV[i], room)
  redis.call('EXPIRE', L .. ':served:' .. ARGV[i], 172800)
end
redis.call('SET', L .. ':plan:' .. room, ARGV[2])
-- That of a room in which somebody waits stays until it empties.
if redis.call('SISMEMBER', L .. ':rooms', room) == 0 then redis.call('EXPIRE', L .. ':plan:' .. room, 86400) end
return 1
