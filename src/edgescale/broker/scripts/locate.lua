#!lua flags=allow-oom
-- Says of a batch of open tasks how often each was delivered, or that its entry was taken away by hand.
--
-- KEYS  for item i: [4i-3] task hash, [4i-2] stream, [4i-1] those who wait, [4i] chain
-- ARGV  [1] group  then for each item 3 values: request id, lane, ordering key, '' for none
-- Reply for each item the number of its deliveries, 0 when nobody has it, or -1 when nobody will ever be given it.
--
-- Nothing is said, by a 0, of a task that is not open at this place any more: what the caller knows of it is outdated.
-- A chain whose first entry was taken away goes on.
local group = ARGV[1]
local replies = {}
for item = 1, #KEYS / 4 do
  local task, stream, waiting, chain = unpack(KEYS, 4 * item - 3, 4 * item)
  local request_id, lane, ordering_key = unpack(ARGV, 3 * item - 1, 3 * item + 1)
  if ordering_key ~= '' then
    mend(stream, group, waiting, chain)
  end
  local known = redis.call('HMGET', task, 'state', 'lane', 'ordering_key', 'entry', 'place')
  local open = known[1] and not TERMINAL[known[1]] and known[2] == lane and (known[3] or '') == ordering_key
  if open and lost(stream, group, known[4], known[5], waiting, chain, request_id) then
    replies[item] = -1
  else
    local entry = open and whereabouts(known[4], known[5], waiting, chain, request_id)
    replies[item] = entry and deliveries(stream, group, entry) or 0
  end
end
return replies
