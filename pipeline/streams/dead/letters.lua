-- Looks for the newest letter of a request, a slice of the dead letters at a time.
--
-- Touches  {prefix}:dead   read
-- ARGV     prefix, request id, entry id up to which to look or +, most entries to look at
-- Returns  {the letter's entry or nothing, the entry before which to look on or ""}
local rows = redis.call('XREVRANGE', ARGV[1] .. ':dead', ARGV[3], '-', 'COUNT', ARGV[4])
for _, row in ipairs(rows) do
  for i = 1, #row[2], 2 do
    if row[2][i] == 'id' and row[2][i + 1] == ARGV[2] then return {row, ''} end
  end
end
return {false, #rows == tonumber(ARGV[4]) and '(' .. rows[#rows][1] or ''}
