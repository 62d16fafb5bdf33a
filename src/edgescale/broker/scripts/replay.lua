#!lua
-- Puts a dead letter back into its lane and opens its task again, all or nothing.
--
-- KEYS  [1] dead letters  [2] task hash  [3] stream  [4] mark of the letter's replay  [5] those who wait  [6] chain
-- ARGV  [1] group  [2] the letter, by its id in [1]  [3] cap  [4] how long the mark is kept, in milliseconds
-- Reply one of
--   {'replayed', id}         the entry is in the stream, or at the end of its chain; its task is queued, the letter is gone
--   {'missing'}              there is no such letter
--   {'conflict', state}      the task has had another life since: it is open, or ended otherwise; nothing changed
--   {'empty'}                the letter holds nothing of its entry; nothing changed
--   {'full', backlog}        the lane is at its cap; nothing changed
--
-- Repeating a call is harmless: the mark tells that it was done. A task may be replayed where its record tells of this
-- very letter, or is gone: expired, or as good as lost, its entry taken away by hand. Its attempts are counted anew. What
-- the letter told stays on the record until the task is settled again. Without `allow-oom`, as a submission.
local dead, task, stream, mark, waiting, chain = unpack(KEYS)
local group, id, cap, mark_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

-- What the letter tells of itself by name, and the entry's own fields as they stood in the stream.
local function read_letter(fields)
  local letter, original = {}, {}
  for index = 1, #fields, 2 do
    local name, value = fields[index], fields[index + 1]
    if string.sub(name, 1, 6) == 'entry.' then
      original[#original + 1] = string.sub(name, 7)
      original[#original + 1] = value
    else
      letter[name] = value
    end
  end
  return letter, original
end

-- The state of a task that must be left alone; nil where the letter is the last that is known of it.
local function other_life(letter)
  local known = redis.call('HMGET', task, 'state', 'settled_entry', 'lane', 'ordering_key', 'entry', 'place')
  if not known[1] or (known[1] == 'dead_lettered' and known[2] == letter.entry) then
    return nil
  end
  local here = known[3] == letter.lane and (known[4] or '') == (letter.ordering_key or '')
  if not TERMINAL[known[1]] and here
    and lost(stream, group, known[5], known[6], waiting, chain, letter.request_id) then
    return nil
  end
  return known[1]
end

-- Puts the entry into the stream, or at the end of its chain, as if it had been accepted now. Returns its id, and whether
-- it waits.
local function enter(letter, original)
  if not letter.ordering_key then
    return redis.call('XADD', stream, '*', unpack(original)), false
  end
  local fields = {}
  for index = 1, #original, 2 do
    if original[index] ~= 'accepted_ms' then
      fields[#fields + 1] = original[index]
      fields[#fields + 1] = original[index + 1]
    end
  end
  return queue_up(stream, waiting, chain, letter.request_id, fields)
end

local function open_again(letter, entry, waits)
  if letter.request_id == 'entry-' .. (letter.entry or '') then
    -- The entry names no task; when it is buried again, that is under the name of the new entry.
    redis.call('DEL', task)
    return
  end
  redis.call('XDEL', waiting, redis.call('HGET', task, 'place') or '0-0')
  redis.call('HDEL', task, 'result', 'reason', 'message', 'attempts', 'settled_ms', 'settled_by', 'settled_entry', 'letter',
    'entry', 'place')
  for _, name in ipairs({ 'digest', 'file_id', 'history', 'accepted_ms', 'ordering_key' }) do
    if letter[name] then redis.call('HSET', task, name, letter[name]) end
  end
  redis.call('HSET', task, 'state', 'queued', 'kind', letter.kind or '', 'lane', letter.lane or '',
    waits and 'place' or 'entry', entry, 'inboxes', '', 'replays', (letter.replays or 0) + 1, 'buried_ms', string.match(id, '%d+'),
    'buried_attempts', letter.attempts or 0, 'buried_reason', letter.reason or '',
    'buried_message', letter.message or '')
  redis.call('PERSIST', task)
end

local done = redis.call('GET', mark)
if done then
  return { 'replayed', done }
end
local found = redis.call('XRANGE', dead, id, id)
if #found == 0 then
  return { 'missing' }
end
local letter, original = read_letter(found[1][2])
if letter.ordering_key then
  mend(stream, group, waiting, chain)
end
local state = other_life(letter)
if state then
  return { 'conflict', state }
end
if #original == 0 then
  return { 'empty' }
end
local backlog = redis.call('XLEN', stream) + redis.call('XLEN', waiting)
if backlog >= tonumber(cap) then
  return { 'full', backlog }
end
local entry, waits = enter(letter, original)
open_again(letter, entry, waits)
redis.call('XDEL', dead, id)
redis.call('SET', mark, entry, 'PX', mark_ms)
return { 'replayed', entry }
