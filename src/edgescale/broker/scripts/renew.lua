#!lua flags=allow-oom
-- Renews the leases of a batch of entries: their idle time starts anew.
--
-- KEYS  for item i: [i] stream
-- ARGV  [1] group  then for each item 2 values: consumer, entry
-- Reply for each item 1 when the consumer still owns the entry, 0 when it lost it.
--
-- XCLAIM alone would take the entry back from its new owner, so ownership is asked first.
-- JUSTID keeps the delivery count as it is.
local group = ARGV[1]
local replies = {}
for item = 1, #KEYS do
  local consumer, entry = ARGV[2 * item], ARGV[2 * item + 1]
  if owned(KEYS[item], group, consumer, entry) then
    redis.call('XCLAIM', KEYS[item], group, consumer, 0, entry, 'JUSTID')
    replies[item] = 1
  else
    replies[item] = 0
  end
end
return replies
