#!lua flags=allow-oom
-- Finds the entries that a read gave to a consumer which never saw the reply, and starts their leases anew.
--
-- KEYS  [1] stream  [2] schedule
-- ARGV  [1] group  [2] consumer  [3] the last entry that a read of the consumer brought  [4] count
-- Reply {{entry, {field, value, ...}}, ...}
--
-- A group's reads go forward only, so that what such a read gave away lies behind all that was heard of. What the consumer
-- has claimed from others may lie there, too: it was delivered before, or, where a drain gave it back, is in flight at this
-- worker, which looks for that; what it handed back to wait is in the schedule, or has a count of its own. XREADGROUP from an id would do, but for its counting the entry as delivered once more.
-- Source: XPENDING and XCLAIM; XCLAIM leaves out what is not in the stream any more.
local PENDING_SOUGHT = 1000
local stream, schedule = KEYS[1], KEYS[2]
local group, consumer, last, count = unpack(ARGV)
local entries = {}
for _, row in ipairs(redis.call('XPENDING', stream, group, '(' .. last, '+', PENDING_SOUGHT, consumer)) do
  if #entries >= tonumber(count) then break end
  if row[4] == 1 and not redis.call('ZSCORE', schedule, row[1]) then
    local claimed = redis.call('XCLAIM', stream, group, consumer, 0, row[1], 'RETRYCOUNT', 1)
    entries[#entries + 1] = claimed[1]
  end
end
return entries
