#!lua flags=allow-oom
-- Says of a batch of open tasks how often each was delivered, or that its entry was taken away by hand.
--
-- KEYS  for item i: [2i-1] task hash, [2i] stream
-- ARGV  [1] group  then for item i: [i+1] lane
-- Reply for each item the number of its deliveries, 0 when nobody has it, or -1 when nobody will ever be given it.
--
-- Nothing is said, by a 0, of a task that is not open in this lane any more: what the caller knows of it is outdated.
local group = ARGV[1]
local replies = {}
for item = 1, #KEYS / 2 do
  local task, stream, lane = KEYS[2 * item - 1], KEYS[2 * item], ARGV[item + 1]
  local known = redis.call('HMGET', task, 'state', 'lane', 'entry')
  local open = known[1] and not TERMINAL[known[1]] and known[2] == lane
  if open and removed(stream, group, known[3]) then
    replies[item] = -1
  else
    replies[item] = open and deliveries(stream, group, known[3]) or 0
  end
end
return replies
