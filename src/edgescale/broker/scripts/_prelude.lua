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
  local pending = redis.pcall('XPENDING', stream, group, entry or '-', entry or '-', 1)
  return (pending.err or #pending == 0) and 0 or pending[1][4]
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
