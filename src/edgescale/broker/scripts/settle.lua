#!lua flags=allow-oom
-- Ends a batch of deliveries: stores the terminal state, removes the entry, wakes the waiters, all or nothing.
--
-- KEYS  [1] dead letters, then for item i: [5i-3] task hash, [5i-2] stream, [5i-1] schedule, [5i] those who wait,
--       [5i+1] chain
-- ARGV  [1] group  [2] channel prefix  [3] how long the record is kept, in milliseconds
--       then for each item 11 values: consumer, entry, request id, kind, lane, ordering key ('' for none), state, result,
--       reason, message, attempts
-- Reply for each item one of
--   'settled'      this outcome is the task's result
--   'superseded'   another outcome was stored before; this one is dropped
--   'lost'         this delivery of the entry is not the consumer's any more and the task is open: somebody works on it
--
-- The first terminal state wins. Repeating a call whose reply was lost answers 'settled' again and wakes the waiters
-- again. Where the task had an ordering key the next one in its chain goes into the stream, whatever became of this one.
-- `allow-oom`: settling is what frees memory.
local group, channel_prefix, ttl_ms = ARGV[1], ARGV[2], ARGV[3]
local now = now_ms()

-- Our entries have two fields. One of somebody else may have thousands, more than unpack() can hand on: without a limit
-- it could never be buried, and would come back for ever.
local FIELDS_MAX = 1000

-- What a letter takes over from the record, which it outlives: enough to make the record anew.
local KEPT = { 'digest', 'file_id', 'accepted_ms', 'replays' }

local function bury(dead, task, stream, consumer, entry, request_id, kind, lane, ordering_key, reason, message, attempts)
  local found = redis.call('XRANGE', stream, entry, entry)
  local known = redis.call('HMGET', task, 'history', unpack(KEPT))
  local fields = { 'request_id', request_id, 'kind', kind, 'lane', lane, 'reason', reason, 'message', message,
    'attempts', attempts, 'entry', entry, 'consumer', consumer,
    'history', chronicle(known[1], known[5], attempts, consumer, reason) }
  if ordering_key ~= '' then
    fields[#fields + 1] = 'ordering_key'
    fields[#fields + 1] = ordering_key
  end
  for index, name in ipairs(KEPT) do
    if known[index + 1] and known[index + 1] ~= '' then
      fields[#fields + 1] = name
      fields[#fields + 1] = known[index + 1]
    end
  end
  for index, value in ipairs(found[1] and found[1][2] or {}) do
    if index > 2 * FIELDS_MAX then break end
    fields[#fields + 1] = index % 2 == 1 and 'entry.' .. value or value
  end
  redis.call('HSET', task, 'letter', redis.call('XADD', dead, '*', unpack(fields)))
end

local replies = {}
for item = 1, (#KEYS - 1) / 5 do
  local task, stream, schedule, waiting, chain = unpack(KEYS, 5 * item - 3, 5 * item + 1)
  local consumer, entry, request_id, kind, lane, ordering_key, state, result, reason, message, attempts =
    unpack(ARGV, 11 * item - 7, 11 * item + 3)
  local known = redis.call('HMGET', task, 'state', 'settled_by', 'settled_entry', 'attempts', 'result', 'entry')
  local owner = owned(stream, group, consumer, entry, attempts) and belongs(stream, entry, request_id, known[6])
  local terminal = known[1] and TERMINAL[known[1]]
  if terminal then
    -- The attempt, too: a worker that was given the entry again may bring a second outcome. And the outcome itself, as a
    -- failover can undo the delivery: then the entry comes again as the same attempt.
    local own = known[2] == consumer and known[3] == entry and known[4] == attempts
      and known[1] == state and (known[5] or '') == result
    replies[item] = own and 'settled' or 'superseded'
  elseif not owner then
    replies[item] = 'lost'
  else
    if state == 'dead_lettered' then
      bury(KEYS[1], task, stream, consumer, entry, request_id, kind, lane, ordering_key, reason, message, attempts)
    end
    redis.call('HSET', task, 'state', state, 'kind', kind, 'lane', lane, 'result', result, 'reason', reason,
      'message', message, 'attempts', attempts, 'settled_ms', now, 'settled_by', consumer, 'settled_entry', entry)
    -- What was kept of an earlier letter, and for a letter, while the task was open.
    redis.call('HDEL', task, 'entry', 'place', 'history', 'buried_ms', 'buried_attempts', 'buried_reason',
      'buried_message')
    redis.call('PEXPIRE', task, ttl_ms)
    replies[item] = 'settled'
  end
  if owner then
    redis.call('XACK', stream, group, entry)
    redis.call('XDEL', stream, entry)
    redis.call('ZREM', schedule, entry)
    if ordering_key ~= '' then
      -- The first one is known by its entry: one that names no task stands there under another name after a replay.
      local first, _, _, id = first_of(chain)
      leave(stream, waiting, chain, id == entry and first or request_id .. ' ' .. entry)
    end
  end
  if replies[item] ~= 'lost' then
    notify(task, channel_prefix, request_id)
  end
end
return replies
