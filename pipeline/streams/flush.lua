-- Writes deltas to the replies of running calls and to the inboxes of whoever reads them.
--
-- Touches  {prefix}:reply:{id}     the deltas, numbered by generation and place: Redis itself
--                                  refuses a number below the last one, so a call that has been
--                                  run again shuts out the late writes of the old one, and a
--                                  flush that is repeated writes nothing twice
--          {prefix}:request:{id}   read: turn, inboxes, status, cancel, and continued: the number of a
--                                  call that goes on with what was cut (`beginning.lua`)
--          {prefix}:inbox:{name}   one entry for each flush
-- ARGV     prefix, then for each reply: id, generation (and, of a call that goes on with an earlier
--          one's, `/` and its own number), place, lines (before the first ones of a generation may
--          stand a line of `#` and their head, which gets a field of its own)
-- Returns  for each reply: 1 written, 0 refused (superseded, ended or unknown), -1 cancelled
local prefix = ARGV[1]
local ENDED = {completed = true, failed = true, cancelled = true}
local written = {}
local inboxes = {}
redis.call('DEL', prefix .. ':nothing')
for i = 2, #ARGV, 4 do
  local id, generation, place, lines = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local known = redis.call('HMGET', prefix .. ':request:' .. id, 'status', 'turn', 'inboxes', 'cancel', 'continued')
  local ok, number = 0, generation
  if #generation > 9 then
    generation, number = string.match(generation, '^(%d+)/(%d+)$')
  end
  if known[4] then
    ok = -1
  elseif known[5] and tonumber(number) < tonumber(known[5]) then
    ok = 0
  elseif known[1] and not ENDED[known[1]] then
    local entry = (known[2] or '1') .. generation .. '-' .. place
    local added
    if string.byte(lines) == 35 then
      local head, rest = string.match(lines, '^#([^\n]*)\n(.*)$')
      added = redis.pcall('XADD', prefix .. ':reply:' .. id, entry, 'event', rest, 'head', head)
    else
      added = redis.pcall('XADD', prefix .. ':reply:' .. id, entry, 'event', lines)
    end
    if type(added) == 'table' then
      -- Asked again after a lost reply: then the last entry is this very one, inboxes included.
      local last = redis.call('XREVRANGE', prefix .. ':reply:' .. id, '+', '-', 'COUNT', 1)
      if last[1] and last[1][1] == entry then ok = 1 end
    else
      ok = 1
      for name in string.gmatch(known[3] or '', '%S+') do
        local inbox = string.gsub(name, '%+$', '')
        local box = inboxes[inbox]
        if not box then
          box = {}
          inboxes[inbox] = box
        end
        box[#box + 1] = id
        box[#box + 1] = entry .. '\n' .. lines
      end
    end
  end
  written[#written + 1] = ok
end
if next(inboxes) then
  local time = redis.call('TIME')
  local oldest = string.format('%.0f', time[1] * 1000 - 15000)
  for inbox, frames in pairs(inboxes) do
    redis.pcall('XADD', prefix .. ':inbox:' .. inbox, 'NOMKSTREAM', 'MINID', '~', oldest, '*', unpack(frames))
  end
end
return written
