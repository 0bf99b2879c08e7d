-- The waiting room of a set of candidates: three classes of priority, in each of which tenants
-- share by weight (start-time fair queueing), in each tenant's line first come, first served.
--
-- Touches  {limits}:room:{room}                    its state, see below; absent when nobody waits
--          {limits}:queue:{room}:{class}           sorted set of tenants by the start tag of their head
--          {limits}:line:{room}:{class}:{tenant}   sorted set of tickets by their order
--          {limits}:finish:{room}:{class}          sorted set of tenants that left, by finish tag
--          {limits}:rooms                          set of rooms in which somebody waits
--          {limits}:served:{upstream}              set of rooms that have it among their candidates
--          {limits}:held:{scope}                   sorted set of tickets that wait for our limit
--          {limits}:due                            sorted set of "r room" and "s scope" by when to look
--          {limits}:due:deadlines                  sorted set of waiting tickets by their deadline
-- A room's state is, for each class, VIRTUAL time, when it was last SERVED (or filled), how many
-- WAIT in it, since when its head has been too LARGE; and the mean PACE of admissions in ms.
local PLAN_TTL_S = 86400
-- Timers nearer than this are not worth a call.
local SOONEST_MS = 5

local rooms, touched, woken, admitted = {}, {}, {}, {}
-- Rooms that changed, and of sets of those who left the tag up to which they are of no use.
local kept_rooms, passed, served_upstreams = {}, {}, {}
-- Whether the times at which to look again may have changed.
local scheduled = false

local function room_of(name)
  if not rooms[name] then
    local packed = redis.call('GET', L .. ':room:' .. name)
    rooms[name] = packed and cmsgpack.unpack(packed)
      or {virtual = {0, 0, 0}, served = {0, 0, 0}, waits = {0, 0, 0}, large = {0, 0, 0}, pace = 0, paced = 0, latest = 0}
  end
  return rooms[name]
end

local function waiting_in(room)
  return room.waits[1] + room.waits[2] + room.waits[3]
end

local function queue_key(name, class) return L .. ':queue:' .. name .. ':' .. class end
local function line_key(ticket) return L .. ':line:' .. ticket.room .. ':' .. ticket.class .. ':' .. ticket.tenant end
local function finish_key(name, class) return L .. ':finish:' .. name .. ':' .. class end

local function keep_room(name)
  kept_rooms[name] = true
end

local function save_room(name)
  if waiting_in(rooms[name]) > 0 then
    redis.call('SET', L .. ':room:' .. name, cmsgpack.pack(rooms[name]))
    return
  end
  redis.call('DEL', L .. ':room:' .. name, finish_key(name, 1), finish_key(name, 2), finish_key(name, 3))
  redis.call('SREM', L .. ':rooms', name)
  redis.call('ZREM', L .. ':due', 'r ' .. name)
  redis.call('EXPIRE', L .. ':plan:' .. name, PLAN_TTL_S)
end

local function save_rooms()
  for key, tag in pairs(passed) do redis.call('ZREMRANGEBYSCORE', key, '-inf', tag) end
  for name in pairs(kept_rooms) do save_room(name) end
end

-- Puts a ticket at its place.
local function enter(id, ticket)
  local name, class = ticket.room, ticket.class
  local room = room_of(name)
  if waiting_in(room) == 0 then
    redis.call('SADD', L .. ':rooms', name)
    redis.call('PERSIST', L .. ':plan:' .. name)
  end
  if room.waits[class] == 0 then
    room.served[class] = now
    touched[name] = true
  end
  room.waits[class] = room.waits[class] + 1
  ticket.state = 'waiting'
  redis.call('ZADD', line_key(ticket), ticket.order, id)
  if redis.call('ZCARD', line_key(ticket)) == 1 then
    local finish = redis.call('ZSCORE', finish_key(name, class), ticket.tenant)
    local tag = math.max(room.virtual[class], tonumber(finish or '0'))
    redis.call('ZADD', queue_key(name, class), tag, ticket.tenant)
  end
  keep(id, ticket)
  keep_room(name)
end

-- Everybody whom a lease on this upstream may concern is served before the script ends: `touched`
-- is for a room either true, or the upstreams that have given something back.
local function touch(upstream)
  if served_upstreams[upstream] then return end
  served_upstreams[upstream] = true
  for _, name in ipairs(redis.call('SINTER', L .. ':rooms', L .. ':served:' .. upstream)) do
    local some = touched[name] or {}
    if some ~= true then some[upstream] = true end
    touched[name] = some
  end
end

-- Lets others have what was held for a large head: it went, or will be held anew.
local function release(name, room)
  local use = use_of(room.holds)
  if use[HOLDER] == name then
    use[HOLDER] = ''
    write(room.holds)
    served_upstreams[room.holds_of] = nil
    touch(room.holds_of)
  end
  room.holds, room.holds_of = nil, nil
end

-- Takes a ticket out of its line; `tag` is its tenant's start tag where it is served.
local function step_out(id, ticket, tag)
  local name, class = ticket.room, ticket.class
  local room, queue = room_of(name), queue_key(name, class)
  room.waits[class] = room.waits[class] - 1
  if room.holds then release(name, room) end
  redis.call('ZREM', line_key(ticket), id)
  local next_tag = tag and tag + 1 / ticket.weight
  if redis.call('EXISTS', line_key(ticket)) == 1 then
    if tag then redis.call('ZADD', queue, next_tag, ticket.tenant) end
  else
    next_tag = next_tag or tonumber(redis.call('ZSCORE', queue, ticket.tenant) or '0')
    redis.call('ZREM', queue, ticket.tenant)
    redis.call('ZADD', finish_key(name, class), next_tag, ticket.tenant)
  end
  if tag then
    room.virtual[class], room.large[class] = tag, 0
    passed[finish_key(name, class)] = tag
  end
  keep_room(name)
end

local function unhold(id, ticket)
  if redis.call('ZREM', L .. ':held:' .. ticket.held, id) == 1 then
    local use = use_of(ticket.held)
    use[HELD] = math.max(0, use[HELD] - 1)
    write(ticket.held)
    if use[HELD] == 0 then redis.call('ZREM', L .. ':due', 's ' .. ticket.held) end
  end
end

-- Takes a ticket out of wherever it waits.
local function leave(id, ticket)
  if ticket.deadline > 0 then redis.call('ZREM', L .. ':due:deadlines', id) end
  if ticket.state == 'held' then unhold(id, ticket) end
  if ticket.state == 'waiting' then step_out(id, ticket) end
end

local function look_again(member, wait, only_sooner)
  if wait == NEVER then return end
  scheduled = true
  redis.call('ZADD', L .. ':due', only_sooner or 'CH', now + math.max(SOONEST_MS, wait), member)
end

-- The classes in which somebody waits, in the order of their right to the next grant: those that
-- got none for too long, longest first, then by priority.
local function in_turn(room)
  local classes = {}
  for class = 1, 3 do
    if room.waits[class] > 0 then classes[#classes + 1] = class end
  end
  if #classes == 1 then return classes end
  local function aged(class) return now - room.served[class] > AGING_MS end
  table.sort(classes, function(a, b)
    if aged(a) ~= aged(b) then return aged(a) end
    if aged(a) and room.served[a] ~= room.served[b] then return room.served[a] < room.served[b] end
    return a < b
  end)
  return classes
end

local function count_pace(room)
  if room.latest > 0 then
    room.paced = math.min(room.paced + 1, 1000)
    room.pace = room.pace + (now - room.latest - room.pace) * math.max(0.05, 1 / room.paced)
  end
  room.latest = now
end

-- Holds the capacity of a deployment for the large head of a room.
local function hold_for(name, candidate)
  local use = use_of(candidate.scopes[1])
  use[HOLDER], use[HELD_UNTIL] = name, now + MINUTE_MS
  write(candidate.scopes[1])
  local room = room_of(name)
  room.holds, room.holds_of = candidate.scopes[1], candidate.upstream
  keep_room(name)
end

-- Puts right a line whose ticket is gone: somebody emptied a part of Redis.
local function mend_line(name, room, class, tenant, line, id)
  room.waits[class] = id and room.waits[class] - 1 or 0
  if id then redis.call('ZREM', line, id) end
  if tenant and redis.call('EXISTS', line) == 0 then redis.call('ZREM', queue_key(name, class), tenant) end
  keep_room(name)
end

local function serve_head(name, room, plan, class, numbers)
  local head = redis.call('ZRANGE', queue_key(name, class), 0, 0, 'WITHSCORES')
  local line = L .. ':line:' .. name .. ':' .. class .. ':' .. (head[1] or '')
  local id = redis.call('ZRANGE', line, 0, 0)[1]
  local ticket = id and ticket_of(id)
  if not ticket then
    mend_line(name, room, class, head[1], line, id)
    return true
  end
  local candidate, key, n, sized, nearest, plain = choose(plan, ticket, numbers)
  if not candidate then
    local wait, why = key, n
    if not is_final(why) then return false, wait, sized, nearest, plain end
    -- No waiting helps: its event is to come and be told.
    leave(id, ticket)
    ticket.state, ticket.why = 'refused', why
    keep(id, ticket)
    ends[id] = now + UNCLAIMED_MS
    woken[#woken + 1] = id
    return true
  end
  if ticket.deadline > 0 then redis.call('ZREM', L .. ':due:deadlines', id) end
  step_out(id, ticket, tonumber(head[2]))
  ticket.decided = sized
  grant(id, ticket, candidate, key, n, false)
  room.served[class] = now
  count_pace(room)
  if waiting_in(room) > 0 then keep_room(name) end
  woken[#woken + 1] = id
  admitted[id] = true
  return true
end

-- Gives one grant in a room, if anybody can have one; else sees to it that it is looked at again.
-- Where none of the candidates had been waited for because of a request's size, and only some
-- upstreams have given back since, the others are still as full for anybody as they were.
local function serve(name)
  local room, plan = room_of(name), plan_of(name)
  if not plan or waiting_in(room) == 0 then return false end
  local soonest, plain, numbers = NEVER, #plan.reserved == 0, nil
  if touched[name] ~= true and room.plain and plain and not keys_changed then numbers = numbers_of(plan, touched[name]) end
  for _, class in ipairs(in_turn(room)) do
    local served, wait, sized, nearest, by_none = serve_head(name, room, plan, class, numbers)
    if served then return true end
    soonest = math.min(soonest, wait)
    plain = plain and by_none
    if not sized and #plan.reserved == 0 then break end
    if sized then
      if room.large[class] == 0 then
        room.large[class] = now
        keep_room(name)
      elseif now - room.large[class] > AGING_MS then
        if nearest then hold_for(name, nearest) end
        break
      end
    end
  end
  if room.plain ~= plain then
    room.plain = plain
    keep_room(name)
  end
  look_again('r ' .. name, soonest, numbers and 'LT')
  return false
end

-- What it costs at the most to look at a room's candidates, in µs.
local function cost_of(name)
  local plan = plan_of(name)
  if not plan then return 0 end
  if #plan.candidates == plan.size then return plan.size * KNOWN_US end
  if touched[name] ~= true and room_of(name).plain then return plan.size * UNPACK_US end
  return plan.size * (UNPACK_US + FETCH_US + LOOK_US)
end

-- Serves the rooms that something was done for, one grant each in turn: first who waits in a
-- higher class, then who was served longest ago.
local function serve_touched()
  local names = {}
  for name in pairs(touched) do names[#names + 1] = name end
  local function rank(name)
    local room = room_of(name)
    local class = room.waits[1] > 0 and 1 or room.waits[2] > 0 and 2 or 3
    return class, room.served[class]
  end
  local first = {}
  for _, name in ipairs(names) do first[name] = {rank(name)} end
  table.sort(names, function(a, b)
    if first[a][1] ~= first[b][1] then return first[a][1] < first[b][1] end
    if first[a][2] ~= first[b][2] then return first[a][2] < first[b][2] end
    return a < b
  end)
  local going = true
  while going do
    going = false
    for _, name in ipairs(names) do
      if spent >= MOST_US or spent > 0 and touched[name] and spent + cost_of(name) > MOST_US then
        for _, left in ipairs(names) do
          if touched[left] then look_again('r ' .. left, 0) end
        end
        return
      end
      if touched[name] then
        if serve(name) then going = true else touched[name] = nil end
      end
    end
  end
  for name in pairs(touched) do look_again('r ' .. name, 0) end
end
