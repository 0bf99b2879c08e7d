-- Accepts a delayed message.
-- ARGV: 1 "in" or "at", 2 milliseconds from now or Unix milliseconds, 3 message, 4 wake within ms.
local now = now_ms()
local due = tonumber(ARGV[2])
if ARGV[1] == "in" then
    due = now + due
end
push(ARGV[3], due, now, tonumber(ARGV[4]))
