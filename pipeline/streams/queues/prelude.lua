-- Opens every script of the broker: the queue's keys and what several scripts do with them.
local stream, delayed, dead = KEYS[1], KEYS[2], KEYS[3]
local sequence, absent, clock = KEYS[4], KEYS[5], KEYS[6]

local function now_ms()
    local time = redis.call("TIME")
    local offset_s = tonumber(redis.call("GET", clock) or "0") or 0
    return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) + offset_s * 1000
end

-- Puts a message where it belongs: the stream when it is due, else the delayed set, by due time.
-- An earliest one that is due before readers look again wakes one of them.
local function push(payload, due, now, wake_within_ms)
    if due <= now then
        redis.call("XADD", stream, "*", "message", payload)
        return
    end
    local member = string.format("%016d", redis.call("INCR", sequence)) .. payload
    redis.call("ZADD", delayed, string.format("%.0f", due), member)
    if due - now < wake_within_ms and redis.call("ZRANK", delayed, member) == 0 then
        redis.call("XADD", stream, "*", "wake", "1")
    end
end

-- Drops dead letters older than their time to live, a bounded number at a time.
local function trim_dead(now, ttl_ms)
    for _, entry in ipairs(redis.call("XRANGE", dead, "-", "+", "COUNT", 100)) do
        if tonumber(entry[2][2]) + ttl_ms > now then
            return
        end
        redis.call("XDEL", dead, entry[1])
    end
end

-- A first write that needs no memory lets the appends after it pass when memory is full.
local function make_way()
    redis.call("DEL", absent)
end

-- Copies an entry's fields to the dead letters, behind our own; of a stranger's entry only as many
-- as Lua can unpack.
local function bury(fields, now, reason, deliveries)
    local ours = {"died", string.format("%.0f", now), "reason", reason, "deliveries", deliveries}
    for i = 1, math.min(#fields, 2000) do
        ours[#ours + 1] = fields[i]
    end
    redis.call("XADD", dead, "*", unpack(ours))
end

local function drop(group, id)
    redis.call("XACK", stream, group, id)
    redis.call("XDEL", stream, id)
end
