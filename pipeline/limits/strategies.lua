-- Strategies: which of the candidates of one rank that could take a request gets it.
--
-- Touches  nothing
-- Scores are better the smaller they are. One that fits is {candidate, key, tokens, load}.

-- Deployments are equally fast that differ by less.
local AS_FAST = 1.15
-- One whose speed nobody knows gets so many calls at once while that of others is known.
local UNKNOWN_CALLS = 4
-- Multiples of the golden section's part are spread evenly, however few or many there are: with
-- them weights are met more exactly than by chance.
local SECTION = 0.618033988749895
-- So many scores, and candidates passed over, are told.
local SHOWN = 6
local UNPRICED = 1e300

local function in_turn_of(ticket) return ticket.order * SECTION % 1 end

local function by_weight(fitting, ticket)
  local all, scores = 0, {}
  for i, one in ipairs(fitting) do
    scores[i] = one[1].weight or 1
    all = all + scores[i]
  end
  local at = in_turn_of(ticket) * all
  for i, one in ipairs(fitting) do
    at = at - scores[i]
    if at < 0 then return one, scores end
  end
  return fitting[#fitting], scores
end

-- Whether one has less to do than another, or as much and was given something longer ago.
local function is_freer(one, other)
  if one[4] ~= other[4] then return one[4] < other[4] end
  return (use_of(one[1].scopes[1])[GIVEN] or 0) < (use_of(other[1].scopes[1])[GIVEN] or 0)
end

local function with_least(fitting, scores)
  local best = 1
  for i = 2, #fitting do
    local less = scores[i] - scores[best]
    if less < 0 or (less == 0 and is_freer(fitting[i], fitting[best])) then best = i end
  end
  return fitting[best], scores
end

-- What a request is to cost, by the tokens that it is expected to take.
local function by_cost(fitting, ticket)
  local scores = {}
  for i, one in ipairs(fitting) do
    local price, use = one[1].price, use_of(one[1].scopes[1])
    local answer = answer_tokens(ticket, use[ANSWER])
    scores[i] = price and price[1] * (one[3] - answer) + price[2] * answer or UNPRICED
  end
  return with_least(fitting, scores)
end

local function in_rotation(fitting)
  local scores = {}
  for i, one in ipairs(fitting) do scores[i] = use_of(one[1].scopes[1])[GIVEN] or 0 end
  return with_least(fitting, scores)
end

-- Who has this in common comes to the same deployment, and only those to another whose own is gone
-- (rendezvous hashing, by weight).
local function by_affinity(fitting, ticket)
  local scores = {}
  for i, one in ipairs(fitting) do
    local digits = string.sub(redis.sha1hex(ticket.sticky .. one[1].deployment), 1, 12)
    scores[i] = -math.log((tonumber(digits, 16) + 1) / 281474976710657) / (one[1].weight or 1)
  end
  return with_least(fitting, scores)
end

-- How long an answer is expected to take, in ms: 95 of 100 first tokens come by two mean deviations
-- after the mean. A deployment with calls of which none has ended for long is at least as slow.
local function expected_ms(use, tokens)
  if (use[MEASURED] or 0) == 0 then return nil end
  local ms = use[FIRST_MS] + 2 * use[FIRST_DEV] + use[TOKEN_MS] * tokens
  return use[LEASES] > 0 and math.max(ms, now - use[QUIET]) or ms
end

-- Gives a deployment that is slower, as far as is known, a request now and then: else nobody would
-- notice that it has recovered.
local function looked_at(fitting, scores, least, ticket)
  if in_turn_of(ticket) >= LOOK_SHARE then return nil end
  local longest_ago
  for i, one in ipairs(fitting) do
    local use = use_of(one[1].scopes[1])
    if scores[i] > least * AS_FAST and use[LOOK_AT] <= now then
      if not longest_ago or use[MEASURED] < longest_ago[2] then longest_ago = {one, use[MEASURED]} end
    end
  end
  return longest_ago and longest_ago[1]
end

local function by_latency(fitting, ticket)
  local scores, least, tokens = {}, nil, nil
  for i, one in ipairs(fitting) do
    local use = use_of(one[1].scopes[1])
    tokens = tokens or (use[ANSWER] > 0 and use[ANSWER]) or nil
    scores[i] = expected_ms(use, tokens and math.min(tokens, answer_tokens(ticket, tokens)) or UNKNOWN_ANSWER)
    if scores[i] and (not least or scores[i] < least) then least = scores[i] end
  end
  least = least or 0
  for i, one in ipairs(fitting) do
    local is_free = use_of(one[1].scopes[1])[LEASES] < UNKNOWN_CALLS
    scores[i] = scores[i] or (is_free and 0 or least * 2 * AS_FAST)
  end
  local look = looked_at(fitting, scores, least, ticket)
  if look then return look, scores, 'look' end
  local best
  for i, one in ipairs(fitting) do
    if scores[i] <= least * AS_FAST and (not best or is_freer(one, best)) then best = one end
  end
  return best, scores
end

-- Chooses one of those that fit, and tells why: the strategy, and the scores.
local function pick(strategy, fitting, ticket)
  if ticket.sticky then
    local one, scores = by_affinity(fitting, ticket)
    return one, 'sticky', scores
  elseif strategy == 'weighted' then
    local one, scores = by_weight(fitting, ticket)
    return one, strategy, scores
  elseif strategy == 'latency' then
    local one, scores, look = by_latency(fitting, ticket)
    return one, look or strategy, scores
  elseif strategy == 'cost' then
    local one, scores = by_cost(fitting, ticket)
    return one, strategy, scores
  end
  local one, scores = in_rotation(fitting)
  return one, strategy, scores
end

-- Puts a decision into words.
local function told(why, fitting, scores, passed)
  local said = {}
  for i = 1, math.min(scores and #fitting or 0, SHOWN) do
    said[i] = string.format('%s %.4g', fitting[i][1].deployment, scores[i])
  end
  return {why or '', table.concat(said, ', '), table.concat(passed, ', ')}
end
