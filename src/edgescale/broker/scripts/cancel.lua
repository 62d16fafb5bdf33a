#!lua flags=allow-oom
-- Ends a batch of tasks because somebody wants it: stores the state, removes the entry, wakes the waiters, all or nothing.
--
-- KEYS  for item i: [5i-4] task hash, [5i-3] stream, [5i-2] schedule, [5i-1] those who wait, [5i] chain
-- ARGV  [1] group  [2] channel prefix  [3] how long the record is kept, in milliseconds  [4] reason  [5] message
--       then for each item 3 values: request id, lane, ordering key, '' for none
-- Reply for each item the hash as a flat list, as it stands then; empty when there is none, or when the task is open at
-- another place than the caller had read: it was lost, and accepted anew, and is to be read again.
--
-- The first terminal state wins: a task that has ended stays as it is, and its state says so. Repeating a call whose
-- reply was lost finds the task cancelled and changes nothing. Whoever works on the entry finds at its next renewal that
-- it is gone; its outcome is superseded. A task whose entry was taken away by hand is cancelled, too, so that nobody
-- submits it again. Of a chain, it is taken out where it stands; where it was the first the next one goes into the stream.
-- `allow-oom`: cancelling is what frees memory.
local group, channel_prefix, ttl_ms, reason, message = unpack(ARGV, 1, 5)
local now = now_ms()

local replies = {}
for item = 1, #KEYS / 5 do
  local task, stream, schedule, waiting, chain = unpack(KEYS, 5 * item - 4, 5 * item)
  local request_id, lane, ordering_key = unpack(ARGV, 3 * item + 3, 3 * item + 5)
  local known = redis.call('HMGET', task, 'state', 'lane', 'ordering_key', 'entry', 'place')
  local open = known[1] and not TERMINAL[known[1]]
  local here = known[2] == lane and (known[3] or '') == ordering_key
  if open and here then
    local entry, member = whereabouts(known[4], known[5], waiting, chain, request_id)
    redis.call('HSET', task, 'state', 'cancelled', 'reason', reason, 'message', message,
      'attempts', entry and deliveries(stream, group, entry) or 0, 'settled_ms', now)
    redis.call('HDEL', task, 'entry', 'place', 'history', 'buried_ms', 'buried_attempts', 'buried_reason',
      'buried_message')
    redis.call('PEXPIRE', task, ttl_ms)
    if entry then
      redis.call('XACK', stream, group, entry)
      redis.call('XDEL', stream, entry)
      redis.call('ZREM', schedule, entry)
    end
    redis.call('XDEL', waiting, known[5] or '0-0')
    if ordering_key ~= '' then
      leave(stream, waiting, chain, member or request_id .. ' ' .. (entry or ''))
    end
    notify(task, channel_prefix, request_id)
  end
  replies[item] = open and not here and {} or redis.call('HGETALL', task)
end
return replies
