#!lua flags=allow-oom
-- Reads a batch of tasks; an inbox that is given will be told when they are settled.
--
-- KEYS  for item i: [i] task hash
-- ARGV  for item i: [i] inbox, '' for none
-- Reply for each item the hash as a flat list, empty when there is none.
--
-- Whether the entry of an open task is still where the record says is `locate`'s question: where that is, and so which
-- keys are needed, is known from the record only.
local replies = {}
for item = 1, #KEYS do
  local state = redis.call('HGET', KEYS[item], 'state')
  if state and not TERMINAL[state] then
    attach(KEYS[item], ARGV[item])
  end
  replies[item] = redis.call('HGETALL', KEYS[item])
end
return replies
