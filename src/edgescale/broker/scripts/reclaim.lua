#!lua flags=allow-oom
-- Takes over entries whose owners have been silent, and tells how often each was delivered.
--
-- KEYS  [1] stream
-- ARGV  [1] group  [2] consumer  [3] lease in milliseconds  [4] cursor  [5] count
-- Reply {next cursor, {{entry, deliveries, {field, value, ...}}, ...}}; the cursor is '0-0' after the last.
--
-- XAUTOCLAIM's reply lacks the delivery count, and a second round trip could find another owner.
local claimed = redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], 'COUNT', ARGV[5])
local entries = {}
for index, entry in ipairs(claimed[2]) do
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], entry[1], entry[1], 1, ARGV[2])
  entries[index] = { entry[1], pending[1][4], entry[2] }
end
return { claimed[1], entries }
