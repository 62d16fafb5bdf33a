-- Stands in front of every script.
local TERMINAL = { succeeded = true, failed = true, dead_lettered = true, expired = true, cancelled = true }
local INBOXES_MAX = 16

local function now_ms()
  local time = redis.call('TIME')
  return string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
end

-- Claims carry no fence of their own: XACK and XCLAIM obey anyone. So each script asks who owns the entry first, and
-- which of its deliveries, where an attempt is given.
local function owned(stream, group, consumer, entry, attempt)
  local pending = redis.pcall('XPENDING', stream, group, entry, entry, 1, consumer)
  return not pending.err and #pending == 1 and (not attempt or pending[1][4] == tonumber(attempt))
end

-- Whether an entry is that of a task. Ids are given a second time where Redis lost the first entry and its clock was set
-- back; then a worker may hold two deliveries of one id. A record that names the entry is enough, and is there as a rule.
local function belongs(stream, entry, request_id, on_record)
  if on_record == entry then return true end
  local found = redis.call('XRANGE', stream, entry, entry)[1]
  for index = 1, found and #found[2] or 0, 2 do
    if found[2][index] == 'request_id' then
      local named = found[2][index + 1]
      -- What is no request id of ours is called otherwise by whoever buries it.
      return named == request_id or not string.match(named, '^[%w._:~-]+$')
    end
  end
  return true
end

-- Whether somebody took an open task's entry out of its stream, by XTRIM or XDEL, before a worker had it: nobody will
-- ever be given it, so its record is as good as lost.
local function removed(stream, group, entry)
  if not entry or #redis.call('XRANGE', stream, entry, entry) > 0 then
    return false
  end
  local pending = redis.pcall('XPENDING', stream, group, entry, entry, 1)
  return pending.err ~= nil or #pending == 0
end

-- How often an entry was delivered; 0 when nobody has it, or when there is no group yet.
local function deliveries(stream, group, entry)
  local pending = redis.pcall('XPENDING', stream, group, entry, entry, 1)
  return (pending.err or #pending == 0) and 0 or pending[1][4]
end

-- Tasks of one ordering key stand in a chain: a sorted set of `<request id> <id>`, in the order of their acceptance. The
-- first of them alone is in the lane's stream, and the id is its entry's. The others wait: their ids are of another stream,
-- `waiting`, that nobody reads from. Both streams are the lane's backlog. No record needs to be touched when a turn comes.
local function first_of(chain)
  local member, score = unpack(redis.call('ZRANGE', chain, 0, 0, 'WITHSCORES'))
  if member then
    return member, score, string.match(member, '^(%S+) (%S+)$')
  end
end

-- Puts an entry at the end of its chain. Returns its id, and whether it waits.
local function queue_up(stream, waiting, chain, request_id, fields)
  local last = redis.call('ZRANGE', chain, -1, -1, 'WITHSCORES')
  local place = last[1] and waiting or stream
  local id = redis.call('XADD', place, '*', unpack(fields))
  redis.call('ZADD', chain, (last[2] or 0) + 1, request_id .. ' ' .. id)
  return id, last[1] ~= nil
end

-- Takes a task out of its chain; where it was the first, the next one that is still there goes into the stream. When it
-- was accepted is told by a field from then on, as its entry's id tells when its turn came.
local function leave(stream, waiting, chain, member)
  local was_first = first_of(chain) == member
  redis.call('ZREM', chain, member)
  while was_first do
    local next_one, score, request_id, place = first_of(chain)
    if not next_one then return end
    redis.call('ZREM', chain, next_one)
    local found = redis.call('XRANGE', waiting, place, place)[1]
    if found then
      local fields = found[2]
      fields[#fields + 1] = 'accepted_ms'
      fields[#fields + 1] = string.match(place, '%d+')
      local id = redis.call('XADD', stream, '*', unpack(fields))
      redis.call('XDEL', waiting, place)
      redis.call('ZADD', chain, score, request_id .. ' ' .. id)
      return
    end
  end
end

-- Lets the next one go where the first one's entry was taken away by hand: nobody will ever settle that.
local function mend(stream, group, waiting, chain)
  local member, _, _, id = first_of(chain)
  if member and removed(stream, group, id) then
    leave(stream, waiting, chain, member)
  end
end

-- Where an open task is, by its record: its entry, or its member of the chain while it waits, or neither.
local function whereabouts(entry, place, waiting, chain, request_id)
  if not place then
    return entry
  end
  local member = request_id .. ' ' .. place
  if redis.call('ZSCORE', chain, member) and #redis.call('XRANGE', waiting, place, place) > 0 then
    return nil, member
  end
  local _, _, whose, id = first_of(chain)
  return whose == request_id and id or nil
end

-- As `removed`, of a task that may have waited in a chain.
local function lost(stream, group, entry, place, waiting, chain, request_id)
  local id, member = whereabouts(entry, place, waiting, chain, request_id)
  return not member and (place and not id or removed(stream, group, id))
end

-- Adds an inbox to a task that is still open. Past the limit a waiter depends on its own timer.
local function attach(task, inbox)
  if inbox == '' then
    return
  end
  local known = redis.call('HGET', task, 'inboxes') or ''
  if known == '' then
    redis.call('HSET', task, 'inboxes', inbox)
  elseif not string.find(',' .. known .. ',', ',' .. inbox .. ',', 1, true) then
    local _, commas = string.gsub(known, ',', '')
    if commas + 1 < INBOXES_MAX then
      redis.call('HSET', task, 'inboxes', known .. ',' .. inbox)
    end
  end
end

-- Wakes everyone who waits for a task. A notification may be repeated and may be lost; the stored result is the truth.
local function notify(task, channel_prefix, request_id)
  for inbox in string.gmatch(redis.call('HGET', task, 'inboxes') or '', '[^,]+') do
    redis.call('SPUBLISH', channel_prefix .. inbox, request_id)
  end
end

-- A text as JSON has it. Bytes beyond ASCII are left as they are.
local function quoted(text)
  local function escape(char)
    return string.format('\\u%04x', string.byte(char))
  end
  return '"' .. string.gsub(text, '[%c"\\]', escape) .. '"'
end

-- A task's history with one more line for an attempt that ended, of which it is not told yet. The oldest lines go
-- when it grows too long; attempts that never ended have none.
local HISTORY_BYTES_MAX = 4096
local function chronicle(history, replays, attempt, worker, reason)
  local whose = '{"replays":' .. (replays or 0) .. ',"attempt":' .. attempt .. ',"worker":' .. quoted(worker) .. ','
  local last = string.match(history or '', '[^\n]*$')
  if string.sub(last, 1, #whose) == whose then
    return history
  end
  local line = whose .. '"at_ms":' .. now_ms() .. ',"reason":' .. quoted(reason) .. '}'
  local lines = last == '' and line or history .. '\n' .. line
  while #lines > HISTORY_BYTES_MAX and string.find(lines, '\n', 1, true) do
    lines = string.gsub(lines, '^[^\n]*\n', '')
  end
  return lines
end
