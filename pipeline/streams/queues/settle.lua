-- Ends a batch of entries: acknowledges, dead-letters or puts back, each only if still ours.
-- ARGV: 1 group, 2 consumer, 3 ttl of dead letters in ms, 4 wake within ms, then per entry
--       id, verb (ack, dead, requeue), reason, message to send in its place or "", its delay in ms.
-- Returns the ids that were refused.
local group, consumer = ARGV[1], ARGV[2]
local now = now_ms()
local refused = {}

make_way()

local function fields_of(id)
    local found = redis.call("XRANGE", stream, id, id)[1]
    return found and found[2]
end

local function settle(id, verb, reason, successor, delay_ms)
    local pending = redis.pcall("XPENDING", stream, group, id, id, 1, consumer)
    if pending.err or #pending == 0 then
        refused[#refused + 1] = id
        return
    end
    -- A flushed entry has no fields: nothing follows from it.
    local plain = verb == "ack" and successor == ""
    local fields = not plain and fields_of(id)
    if fields and successor ~= "" then
        push(successor, now + tonumber(delay_ms), now, tonumber(ARGV[4]))
    end
    if fields and verb == "dead" then
        bury(fields, now, reason, pending[1][4])
        trim_dead(now, tonumber(ARGV[3]))
    elseif fields and verb == "requeue" then
        redis.call("XADD", stream, "*", unpack(fields))
    end
    drop(group, id)
end

for i = 5, #ARGV, 5 do
    settle(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4])
end
return refused
