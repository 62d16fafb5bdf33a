#!lua flags=allow-oom
-- Ends a batch of tasks because somebody wants it: stores the state, removes the entry, wakes the waiters, all or nothing.
--
-- KEYS  for item i: [3i-2] task hash, [3i-1] stream, [3i] schedule
-- ARGV  [1] group  [2] channel prefix  [3] how long the record is kept, in milliseconds  [4] reason  [5] message
--       then for each item 2 values: request id, lane
-- Reply for each item the hash as a flat list, as it stands then; empty when there is none, or when the task is open in
-- another lane than the caller had read: it was lost, and accepted anew, and is to be read again.
--
-- The first terminal state wins: a task that has ended stays as it is, and its state says so. Repeating a call whose
-- reply was lost finds the task cancelled and changes nothing. Whoever works on the entry finds at its next renewal that
-- it is gone; its outcome is superseded. A task whose entry was taken away by hand is cancelled, too, so that nobody
-- submits it again. `allow-oom`: cancelling is what frees memory.
local group, channel_prefix, ttl_ms, reason, message = unpack(ARGV, 1, 5)
local now = now_ms()

local replies = {}
for item = 1, #KEYS / 3 do
  local task, stream, schedule = KEYS[3 * item - 2], KEYS[3 * item - 1], KEYS[3 * item]
  local request_id, lane = ARGV[2 * item + 4], ARGV[2 * item + 5]
  local known = redis.call('HMGET', task, 'state', 'lane', 'entry')
  local open = known[1] and not TERMINAL[known[1]]
  if open and known[2] == lane then
    local entry = known[3]
    redis.call('HSET', task, 'state', 'cancelled', 'reason', reason, 'message', message,
      'attempts', deliveries(stream, group, entry), 'settled_ms', now)
    redis.call('HDEL', task, 'entry', 'history', 'buried_ms', 'buried_attempts', 'buried_reason', 'buried_message')
    redis.call('PEXPIRE', task, ttl_ms)
    redis.call('XACK', stream, group, entry)
    redis.call('XDEL', stream, entry)
    redis.call('ZREM', schedule, entry)
    notify(task, channel_prefix, request_id)
  end
  replies[item] = open and known[2] ~= lane and {} or redis.call('HGETALL', task)
end
return replies
