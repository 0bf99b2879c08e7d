-- Tickets and leases: what a lease takes, holds and gives back.
--
-- Touches  {limits}:tickets            hash of tickets
--          {limits}:due:leases         sorted set of tickets by when their lease runs out
-- A ticket stands for one event in one leg, and is a map of
--   state      held: waits for our limits · waiting: in its room · lease: may call, or calls ·
--              between: was called, and is on its way to another candidate · refused
--   room, class, tenant, weight, own, estimate, answer, deadline, order, since   as asked
--   tokens, day, at                what it took of our limits, when, and when it was admitted
--   sticky, calls                  as asked: what it has in common with others, as how many calls
--                                  it counts
--   deployment, key, scopes, granted, taken, taken_day, quota, upstream   its lease
--   companions                     what was chosen for its companions, until it is granted
--   follows, paid                  the request with which its own call was paid, its tokens of that
--   trial                          whether its call tries a deployment that was cut off
--   decided                        how its candidate was chosen, until its event is told
--   generation                     earlier runs of its call no longer count
--   claimed                        whether its event has come for its lease
-- `own` are triples scope, name of its limit, name of the limit for those without one of their own.
local LEASE_MS, UNCLAIMED_MS = 60000, 15000

-- Tickets that changed, and those whose lease runs out at another time (false: no more).
local kept, ends = {}, {}
local tickets = {}

local function ticket_of(id)
  if tickets[id] == nil then
    local packed = redis.call('HGET', L .. ':tickets', id)
    tickets[id] = packed and cmsgpack.unpack(packed) or false
  end
  return tickets[id]
end

local function keep(id, ticket)
  tickets[id], kept[id] = ticket, true
end

local function forget(id)
  tickets[id], kept[id], ends[id] = false, true, false
end

local function save_tickets()
  local set, gone, at, no_more = {}, {}, {}, {}
  for id in pairs(kept) do
    if tickets[id] then
      set[#set + 1] = id
      set[#set + 1] = cmsgpack.pack(tickets[id])
    else
      gone[#gone + 1] = id
    end
  end
  for id, ms in pairs(ends) do
    if ms then
      at[#at + 1] = ms
      at[#at + 1] = id
    else
      no_more[#no_more + 1] = id
    end
  end
  call_many('HSET', L .. ':tickets', set)
  call_many('HDEL', L .. ':tickets', gone)
  call_many('ZADD', L .. ':due:leases', at)
  call_many('ZREM', L .. ':due:leases', no_more)
end

-- Gives a ticket a lease on a candidate.
local function grant(id, ticket, candidate, key, n, claimed)
  local plan = plan_of(ticket.room)
  local scopes = {}
  spent = spent + GRANT_US
  for turn = 1, 2 do
    local all = with_shares(turn == 1 and candidate.scopes or key.scopes, plan.reserved, ticket.class)
    for i = 1, #all, 2 do
      take_theirs(all[i], all[i + 1], n - (ticket.paid or 0), ticket.calls)
      scopes[#scopes + 1] = all[i]
      scopes[#scopes + 1] = all[i + 1]
    end
  end
  local use = use_of(candidate.scopes[1])
  use[TURN] = (use[TURN] + 1) % 5040
  if use[HOLDER] == ticket.room then use[HOLDER] = '' end
  local dead = dead_keys and dead_keys[key.id]
  if dead then
    dead[3] = now + PROBE_MS
    edits = edits + 1
    dead_edit = edits
    redis.call('HSET', L .. ':dead', key.id, cmsgpack.pack(dead))
  end
  if ticket.at == 0 then
    for i = 1, #ticket.own, 2 do admit_ours(ticket.own[i], cap_of(ticket.own[i + 1]), id, ticket.tokens) end
    ticket.at, ticket.day = now, today
  end
  ticket.state, ticket.claimed = 'lease', claimed
  ticket.deployment, ticket.key, ticket.scopes = candidate.deployment, key.id, scopes
  ticket.granted, ticket.trial = now, note_lease(candidate.scopes[1], ticket.order) or nil
  ticket.taken, ticket.taken_day, ticket.quota, ticket.upstream = n, today, candidate.quota, candidate.upstream
  if candidate.quota == '' then ticket.quota = key.scopes[1] end
  if ticket.companions then
    pay(id, ticket, ticket.companions)
    ticket.companions = nil
  end
  keep(id, ticket)
  ends[id] = now + (claimed and LEASE_MS or UNCLAIMED_MS)
end

-- Ends the lease of a ticket; `used` are the tokens that its call is known to have used, nil where
-- it may have used all it took.
local function end_lease(ticket, used, was_sent)
  local more = used and used - ticket.taken or 0
  for i = 1, #ticket.scopes, 2 do
    return_theirs(ticket.scopes[i], ticket.scopes[i + 1], more, ticket.granted, ticket.taken_day, was_sent,
      ticket.calls)
  end
end

-- Ends what a ticket holds of our limits.
local function end_own(id, ticket, used, counts)
  for i = 1, #ticket.own, 2 do
    settle_ours(ticket.own[i], cap_of(ticket.own[i + 1]), id, ticket.tokens, used, counts, ticket.at, ticket.day)
  end
end
