-- Companions: further models that a request's work needs. It goes when all have capacity; what the
-- calls of the companions will take is taken with it, and they find it paid.
--
-- Touches  {limits}:paid:{request}   hash of what is paid, by deployment: key, calls, tokens
local PAID_TTL_S = 300

-- The plans of a room's companions; nothing where one is not known yet.
local function plans_of(also)
  local found = {}
  for i, one in ipairs(also) do
    found[i] = plan_of(one[1])
    if not found[i] then return nil end
  end
  return found
end

-- Chooses a deployment for each companion of a ticket: gives what it chose, or nothing, the ms until
-- one may fit, and why one does not.
function choose_companions(also, ticket)
  local chosen, choosing = {}, plans_of(also)
  if not choosing then return nil, NEVER, 'unknown' end
  for i, one in ipairs(also) do
    local its = {
      room = one[1], class = ticket.class, order = ticket.order,
      calls = one[2], estimate = one[3], answer = one[4],
    }
    local candidate, key, n = choose(choosing[i], its)
    if not candidate then return nil, key, n end
    chosen[i] = {candidate, key, n, one[2]}
  end
  return chosen
end

-- Takes what the calls of companions will take; who calls them finds it here.
local function pay(id, ticket, chosen)
  local paid = L .. ':paid:' .. string.match(id, '^%d+%.(.*)$')
  local plan = plan_of(ticket.room)
  for _, one in ipairs(chosen) do
    local candidate, key, n, calls = unpack(one)
    for turn = 1, 2 do
      local all = with_shares(turn == 1 and candidate.scopes or key.scopes, plan.reserved, ticket.class)
      for i = 1, #all, 2 do take_rates(all[i], all[i + 1], n, calls) end
    end
    redis.call('HSET', paid, candidate.deployment, cmsgpack.pack({key.id, math.ceil(calls), n}))
  end
  redis.call('EXPIRE', paid, PAID_TTL_S)
end

-- Finds for a ticket that follows another request a candidate that was paid for with that: gives the
-- candidate, the key and the tokens that are paid of those it takes.
local function find_paid(plan, ticket)
  local paid = L .. ':paid:' .. ticket.follows
  local found = redis.call('HGETALL', paid)
  for i = 1, #found, 2 do
    local key_id, calls, tokens = unpack(cmsgpack.unpack(found[i + 1]))
    for _, candidate in ipairs(unpack_candidates(plan, plan.size)) do
      local key
      for _, one in ipairs(candidate.keys) do key = one.id == key_id and one or key end
      if candidate.deployment == found[i] and key and not is_dead(key_id) and cut_off(use_of(candidate.scopes[1])) == 0 then
        local n = tokens_on(candidate, ticket)
        local share = math.min(n, tokens)
        if calls > 1 then
          redis.call('HSET', paid, found[i], cmsgpack.pack({key_id, calls - 1, tokens - share}))
        else
          redis.call('HDEL', paid, found[i])
        end
        ticket.calls, ticket.paid = 0, share
        return candidate, key, n
      end
    end
  end
end
