#!lua flags=allow-oom
-- Hands a batch of entries back, to be claimed by anyone after a while.
--
-- KEYS  for item i: [2i-1] task hash, [2i] stream
-- ARGV  [1] group
--       then for each item 7 values: consumer, entry, attempt, idle in milliseconds, deliveries that count, reason, message
-- Reply for each item 1 when it was given back, 0 when this delivery of it is not the consumer's any more.
--
-- The entry stays pending and is given a pretended idle time: at or above the lease it can be claimed at once, below
-- it after the difference. Reason and message of a failed attempt are kept on the task while it is open, and a line of
-- its history tells of the attempt. The attempt is asked for, as a call that was held up may find that its consumer has
-- been given the entry anew, and works on it.
-- Source: XCLAIM with IDLE, RETRYCOUNT and JUSTID; XNACK exists in Redis 8.8 and later only.
local group = ARGV[1]
local replies = {}
for item = 1, #KEYS / 2 do
  local task, stream = KEYS[2 * item - 1], KEYS[2 * item]
  local consumer, entry, attempt, idle_ms, deliveries, reason, message = unpack(ARGV, 7 * item - 5, 7 * item + 1)
  -- A call that is repeated finds the count that it has left.
  if owned(stream, group, consumer, entry, attempt) or owned(stream, group, consumer, entry, deliveries) then
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
