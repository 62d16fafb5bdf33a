#!lua flags=allow-oom
-- Enters a batch of heartbeats in the agent registry.
--
-- KEYS  [1] agents by last-seen time, then for item i: [i+1] agent hash
-- ARGV  [1] how long a silent agent is kept, in milliseconds
--       then for each item 6 values: agent id, boot id, sequence, seen in milliseconds, status, metrics
-- Reply for each item {missed beats, 1 when the beat was counted before}
--
-- Workers run side by side, so beats may come out of order and twice. `missing` holds the gaps of the present boot as
-- `first-last` ranges: a late beat fills its gap, a second copy finds no gap and changes nothing. `lowest` is where the
-- boot's beats begin as far as is known: a late beat below it begins them earlier. Without a boot id, a sequence that
-- starts again at 0 or 1, later than the last beat, is taken for a new boot.
local RANGES_MAX = 64
local retention_ms = ARGV[1]

local function number(value)
  return string.format('%.0f', value)
end

-- Takes `sequence` out of the ranges. Returns the ranges left and whether it was among them.
local function fill(missing, sequence)
  local left, filled = {}, false
  for first, last in string.gmatch(missing, '(%d+)-(%d+)') do
    first, last = tonumber(first), tonumber(last)
    if first <= sequence and sequence <= last then
      filled = true
      if first < sequence then left[#left + 1] = number(first) .. '-' .. number(sequence - 1) end
      if sequence < last then left[#left + 1] = number(sequence + 1) .. '-' .. number(last) end
    else
      left[#left + 1] = number(first) .. '-' .. number(last)
    end
  end
  return left, filled
end

-- Beats in the ranges. Ranges past the limit, oldest first, are written off: they stay counted and cannot be filled.
-- The parentheses matter: numbers are doubles, and a sum with a sequence number near 2^53 would no longer be exact.
local function count(ranges, written_off)
  while #ranges > RANGES_MAX do
    local first, last = string.match(table.remove(ranges, 1), '(%d+)-(%d+)')
    written_off = written_off + (last - first + 1)
  end
  local missed = written_off
  for _, range in ipairs(ranges) do
    local first, last = string.match(range, '(%d+)-(%d+)')
    missed = missed + (last - first + 1)
  end
  return missed, written_off
end

local replies = {}
local seen_last = 0
for item = 1, #KEYS - 1 do
  local agent = KEYS[item + 1]
  local agent_id, boot_id, sequence, seen_ms, status, metrics = unpack(ARGV, 2 + (item - 1) * 6, 7 + (item - 1) * 6)
  sequence, seen_ms = tonumber(sequence), tonumber(seen_ms)
  local known = redis.call('HMGET', agent, 'boot_id', 'sequence', 'missing', 'written_off', 'last_seen_ms',
    'first_seen_ms', 'lowest')
  local highest = tonumber(known[2] or -1)
  local lowest = tonumber(known[7] or sequence)
  local last_seen = tonumber(known[5] or 0)
  local restarted = known[1] and seen_ms > last_seen
    and (known[1] ~= boot_id or (boot_id == '' and sequence <= 1 and sequence < highest))
  local missing, written_off = known[3] or '', tonumber(known[4] or 0)
  local repeated = false
  local ranges
  if not known[1] or restarted then
    lowest, highest, ranges, written_off = sequence, sequence, {}, 0
  elseif known[1] ~= boot_id then
    -- A late beat of an earlier boot: nothing is known of that boot any more.
    ranges, repeated = fill(missing, -1), true
  elseif sequence > highest then
    ranges = fill(missing, -1)
    if sequence > highest + 1 then
      ranges[#ranges + 1] = number(highest + 1) .. '-' .. number(sequence - 1)
    end
    highest = sequence
  elseif sequence < lowest then
    ranges = fill(missing, -1)
    if sequence < lowest - 1 then
      table.insert(ranges, 1, number(sequence + 1) .. '-' .. number(lowest - 1))
    end
    lowest = sequence
  else
    local filled
    ranges, filled = fill(missing, sequence)
    repeated = not filled
  end
  local missed
  missed, written_off = count(ranges, written_off)
  if not repeated then
    redis.call('HINCRBY', agent, 'beats', 1)
    redis.call('HSET', agent, 'agent_id', agent_id, 'boot_id', boot_id, 'sequence', number(highest),
      'lowest', number(lowest), 'missing', table.concat(ranges, ','), 'written_off', number(written_off),
      'missed', number(missed), 'first_seen_ms', number(math.min(tonumber(known[6] or seen_ms), seen_ms)))
    if sequence == highest then
      redis.call('HSET', agent, 'status', status, 'metrics', metrics)
    end
  end
  last_seen = math.max(last_seen, seen_ms)
  seen_last = math.max(seen_last, last_seen)
  redis.call('HSET', agent, 'last_seen_ms', number(last_seen))
  redis.call('PEXPIRE', agent, retention_ms)
  redis.call('ZADD', KEYS[1], number(last_seen), agent_id)
  replies[item] = { missed, repeated and 1 or 0 }
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', number(seen_last - retention_ms))
return replies
