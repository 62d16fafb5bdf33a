#!lua flags=allow-oom
-- Reads a batch of tasks; an inbox that is given will be told when they are settled.
--
-- KEYS  for item i: [i] task hash
-- ARGV  [1] group  [2] prefix of the streams, which are in the same slot  then for item i: [i+2] inbox, '' for none
-- Reply for each item the hash as a flat list, empty when there is none, or when its entry was taken away by hand.
local group, stream_prefix = ARGV[1], ARGV[2]
local replies = {}
for item = 1, #KEYS do
  local known = redis.call('HMGET', KEYS[item], 'state', 'lane', 'entry')
  local open = known[1] and not TERMINAL[known[1]]
  if open and removed(stream_prefix .. (known[2] or ''), group, known[3]) then
    replies[item] = {}
  else
    if open then
      attach(KEYS[item], ARGV[item + 2])
    end
    replies[item] = redis.call('HGETALL', KEYS[item])
  end
end
return replies
