#!lua flags=allow-oom
-- Takes over entries whose owners have been silent, and tells how often each was delivered.
--
-- KEYS  [1] stream  [2] schedule
-- ARGV  [1] group  [2] consumer  [3] lease in milliseconds  [4] cursor  [5] count
-- Reply {next cursor, {{entry, deliveries, {field, value, ...}}, ...}, now}; the cursor is '0-0' after the last, now is
--       the server's time in milliseconds since 1970.
--
-- What is not due yet goes back to where it waits, as if it had not been claimed.
--
-- XAUTOCLAIM's reply lacks the delivery count, and a second round trip could find another owner.
local stream, schedule = KEYS[1], KEYS[2]
local group, consumer, lease_ms, cursor, count = unpack(ARGV)
local now = now_ms()

-- How far to look for orphans. Those in front of them are running, and soon gone, so that orphans come within reach.
local ORPHANS_SOUGHT = 64

local function number(part)
  return string.rep('0', 20 - #part) .. part
end

-- Ids as text of one length, which compare as the numbers do: doubles are too short for them.
local function comparable(id)
  local milliseconds, sequence = string.match(id, '(%d+)-(%d+)')
  return number(milliseconds) .. number(sequence)
end

-- The id of the last entry that the group has delivered.
local function last_delivered()
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local facts = {}
    for index = 1, #info, 2 do facts[info[index]] = info[index + 1] end
    if facts['name'] == group then return comparable(facts['last-delivered-id']) end
  end
end

-- Claims entries that were delivered and that nobody holds: XGROUP DELCONSUMER forgets what its consumer held, and
-- no read and no claim would ever find that again. How often it was delivered before is not known any more.
local function adopt(entries)
  local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', ORPHANS_SOUGHT)
  local last = #first > 0 and last_delivered()
  for _, entry in ipairs(first) do
    if not last or #entries >= tonumber(count) or comparable(entry[1]) > last then return end
    if #redis.call('XPENDING', stream, group, entry[1], entry[1], 1) == 0 then
      redis.call('XCLAIM', stream, group, consumer, 0, entry[1], 'RETRYCOUNT', 1, 'FORCE', 'JUSTID')
      entries[#entries + 1] = { entry[1], 1, entry[2] }
    end
  end
end

-- Whether an entry has to wait still; if so, it is put back, to be looked at again when it is due, or after a lease.
local function put_back(entry, deliveries)
  local due = redis.call('ZSCORE', schedule, entry)
  if not due then return false end
  local left_ms = due - now
  if left_ms <= 0 then
    redis.call('ZREM', schedule, entry)
    return false
  end
  local idle_ms = math.max(lease_ms - left_ms, 0)
  redis.call('XCLAIM', stream, group, consumer, 0, entry, 'IDLE', idle_ms, 'RETRYCOUNT', deliveries - 1, 'JUSTID')
  return true
end

local claimed = redis.call('XAUTOCLAIM', stream, group, consumer, lease_ms, cursor, 'COUNT', count)
local entries = {}
for _, entry in ipairs(claimed[2]) do
  local pending = redis.call('XPENDING', stream, group, entry[1], entry[1], 1, consumer)
  if not put_back(entry[1], pending[1][4]) then
    entries[#entries + 1] = { entry[1], pending[1][4], entry[2] }
  end
end
-- Entries that somebody took out of the stream leave the pending list by being claimed.
for _, entry in ipairs(claimed[3] or {}) do
  redis.call('ZREM', schedule, entry)
end
if claimed[1] == '0-0' then
  adopt(entries)
end
return { claimed[1], entries, now }
