-- Looks after a queue: promotes what is due, claims what the dead (or an earlier self) left.
-- ARGV: 1 group, 2 consumer, 3 prefix of liveness keys, 4 how many entries may be claimed,
--       5 deliveries that make an entry poison, 6 ttl of dead letters in ms, or 0 to skip trimming,
--       7 "1" to claim from the dead, 8 "1" to claim our own pending entries, then ids to leave.
-- Returns ms to the next due time or -1, 1 if more is to be claimed, a list of {id, fields}.
local group, me, prefix = ARGV[1], ARGV[2], ARGV[3]
local room, max_deliveries, ttl_ms = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local BATCH = 500
local claimed, more = {}, 0

-- Sends due messages to the stream in due order; returns ms to the next one or -1.
local function promote()
    local head = redis.call("ZRANGE", delayed, 0, 0, "WITHSCORES")
    if #head == 0 then
        return -1
    end
    make_way()
    local now = now_ms()
    local limit = string.format("%.0f", now)
    local due = redis.call("ZRANGEBYSCORE", delayed, "-inf", limit, "LIMIT", 0, BATCH)
    for _, member in ipairs(due) do
        redis.call("XADD", stream, "*", "message", string.sub(member, 17))
        redis.call("ZREM", delayed, member)
    end
    head = redis.call("ZRANGE", delayed, 0, 0, "WITHSCORES")
    return #head == 0 and -1 or math.max(0, tonumber(head[2]) - now)
end

local function claim(id, deliveries)
    local found = redis.call("XRANGE", stream, id, id)[1]
    if not found then
        redis.call("XACK", stream, group, id)
    elseif deliveries >= max_deliveries then
        make_way()
        bury(found[2], now_ms(), "poison: its workers died", deliveries)
        drop(group, id)
    elseif #claimed < room then
        redis.call("XCLAIM", stream, group, me, 0, id)
        claimed[#claimed + 1] = found
    else
        more = 1
    end
end

local function claim_from(consumer, skipped, skipped_count)
    local count = room - #claimed + skipped_count + 1
    local rows = redis.call("XPENDING", stream, group, "-", "+", count, consumer)
    for _, row in ipairs(rows) do
        if not skipped[row[1]] then
            claim(row[1], row[4])
        end
    end
    if #rows == count then
        more = 1
    end
end

-- The dead are the consumers without a liveness key; one that left nothing is forgotten.
local function claim_from_the_dead()
    local others, keys = {}, {}
    local consumers = redis.pcall("XINFO", "CONSUMERS", stream, group)
    for _, row in ipairs(consumers.err and {} or consumers) do
        if row[2] ~= me then
            others[#others + 1] = {name = row[2], pending = row[4]}
            keys[#keys + 1] = prefix .. row[2]
        end
    end
    if #keys == 0 or (#keys < 1000 and redis.call("EXISTS", unpack(keys)) == #keys) then
        return
    end
    for i, other in ipairs(others) do
        if redis.call("EXISTS", keys[i]) == 0 then
            if other.pending == 0 then
                redis.call("XGROUP", "DELCONSUMER", stream, group, other.name)
            else
                claim_from(other.name, {}, 0)
            end
        end
    end
end

local due_in = promote()
if ARGV[8] == "1" then
    local skipped = {}
    for i = 9, #ARGV do
        skipped[ARGV[i]] = true
    end
    claim_from(me, skipped, #ARGV - 8)
end
if ARGV[7] == "1" then
    claim_from_the_dead()
end
if ttl_ms > 0 then
    trim_dead(now_ms(), ttl_ms)
end
return {due_in, more, claimed}
