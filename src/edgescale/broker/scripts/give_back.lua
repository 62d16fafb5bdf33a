#!lua flags=allow-oom
-- Hands a batch of entries back, to be claimed by anyone after a while.
--
-- KEYS  for item i: [3i-2] task hash, [3i-1] stream, [3i] schedule
-- ARGV  [1] group  [2] lease in milliseconds
--       then for each item 7 values: consumer, entry, attempt, delay in milliseconds, deliveries that count, reason, message
-- Reply for each item 1 when it was given back, 0 when this delivery of it is not the consumer's any more.
--
-- The entry stays pending, so that nothing can lose it, and is given a pretended idle time: it can be claimed when that
-- has come to a lease. What has to wait for longer is in the schedule besides; who claims it too early puts it back (see
-- reclaim). Reason and message of a failed attempt are kept on the task while it is open, and a line of its history tells
-- of the attempt. The attempt is asked for, as a call that was held up may find that its consumer has been given the entry
-- anew, and works on it.
-- Source: XCLAIM with IDLE, RETRYCOUNT and JUSTID; XNACK exists in Redis 8.8 and later only.
local group, lease_ms = ARGV[1], tonumber(ARGV[2])
local replies = {}
for item = 1, #KEYS / 3 do
  local task, stream, schedule = KEYS[3 * item - 2], KEYS[3 * item - 1], KEYS[3 * item]
  local consumer, entry, attempt, delay_ms, deliveries, reason, message = unpack(ARGV, 7 * item - 4, 7 * item + 2)
  -- A call that is repeated finds the count that it has left.
  if owned(stream, group, consumer, entry, attempt) or owned(stream, group, consumer, entry, deliveries) then
    -- An attempt that failed as the first one looks like an entry that was never heard of (see unheard): the schedule
    -- tells them apart.
    if tonumber(delay_ms) > lease_ms or (reason ~= '' and deliveries == '1') then
      redis.call('ZADD', schedule, now_ms() + delay_ms, entry)
    end
    local idle_ms = math.max(lease_ms - delay_ms, 0)
    redis.call('XCLAIM', stream, group, consumer, 0, entry, 'IDLE', idle_ms, 'RETRYCOUNT', deliveries, 'JUSTID')
    if reason ~= '' and redis.call('EXISTS', task) == 1 then
      local known = redis.call('HMGET', task, 'history', 'replays')
      local history = chronicle(known[1], known[2], attempt, consumer, reason)
      redis.call('HSET', task, 'reason', reason, 'message', message, 'history', history)
    end
    replies[item] = 1
  else
    replies[item] = 0
  end
end
return replies
