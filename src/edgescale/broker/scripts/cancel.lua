#!lua flags=allow-oom
-- Ends a batch of tasks because somebody wants it: stores the state, removes the entry, wakes the waiters, all or nothing.
--
-- KEYS  for item i: [i] task hash
-- ARGV  [1] group  [2], [3] prefixes of streams and schedules, which are in the same slot  [4] channel prefix
--       [5] how long the record is kept, in milliseconds  [6] reason  [7] message  then for item i: [i+7] request id
-- Reply for each item the hash as a flat list, as it stands then; empty when there is none.
--
-- The first terminal state wins: a task that has ended stays as it is, and its state says so. Repeating a call whose
-- reply was lost finds the task cancelled and changes nothing. Whoever works on the entry finds at its next renewal that
-- it is gone; its outcome is superseded. A task whose entry was taken away by hand is cancelled, too, so that nobody
-- submits it again. `allow-oom`: cancelling is what frees memory.
local group, stream_prefix, schedule_prefix, channel_prefix, ttl_ms, reason, message = unpack(ARGV, 1, 7)
local now = now_ms()

-- How often the entry was delivered; 0 when nobody has it, or when there is no group yet.
local function deliveries(stream, entry)
  local pending = redis.pcall('XPENDING', stream, group, entry, entry, 1)
  return (pending.err or #pending == 0) and 0 or pending[1][4]
end

local replies = {}
for item = 1, #KEYS do
  local task = KEYS[item]
  local known = redis.call('HMGET', task, 'state', 'lane', 'entry')
  if known[1] and not TERMINAL[known[1]] then
    local stream, entry = stream_prefix .. known[2], known[3]
    redis.call('HSET', task, 'state', 'cancelled', 'reason', reason, 'message', message,
      'attempts', deliveries(stream, entry), 'settled_ms', now)
    redis.call('HDEL', task, 'entry', 'history', 'buried_ms', 'buried_attempts', 'buried_reason', 'buried_message')
    redis.call('PEXPIRE', task, ttl_ms)
    redis.call('XACK', stream, group, entry)
    redis.call('XDEL', stream, entry)
    redis.call('ZREM', schedule_prefix .. known[2], entry)
    notify(task, channel_prefix, ARGV[item + 7])
  end
  replies[item] = redis.call('HGETALL', task)
end
return replies
