#!lua
-- Puts a dead letter back into its lane and opens its task again, all or nothing.
--
-- KEYS  [1] dead letters  [2] task hash  [3] stream  [4] mark of the letter's replay
-- ARGV  [1] group  [2] the letter, by its id in [1]  [3] cap  [4] how long the mark is kept, in milliseconds
-- Reply one of
--   {'replayed', entry}      the entry is in the stream, its task is queued, the letter is gone
--   {'missing'}              there is no such letter
--   {'conflict', state}      the task has had another life since: it is open, or ended otherwise; nothing changed
--   {'empty'}                the letter holds nothing of its entry; nothing changed
--   {'full', backlog}        the lane is at its cap; nothing changed
--
-- Repeating a call is harmless: the mark tells that it was done. A task may be replayed where its record tells of this
-- very letter, or is gone: expired, or as good as lost, its entry taken away by hand. Its attempts are counted anew. What
-- the letter told stays on the record until the task is settled again. Without `allow-oom`, as a submission.
local dead, task, stream, mark = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
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
  local known = redis.call('HMGET', task, 'state', 'settled_entry', 'lane', 'entry')
  if not known[1] or (known[1] == 'dead_lettered' and known[2] == letter.entry) then
    return nil
  end
  if not TERMINAL[known[1]] and known[3] == letter.lane and removed(stream, group, known[4]) then
    return nil
  end
  return known[1]
end

local function open_again(letter, entry)
  if letter.request_id == 'entry-' .. (letter.entry or '') then
    -- The entry names no task; when it is buried again, that is under the name of the new entry.
    redis.call('DEL', task)
    return
  end
  redis.call('HDEL', task, 'result', 'reason', 'message', 'attempts', 'settled_ms', 'settled_by', 'settled_entry', 'letter')
  for _, name in ipairs({ 'digest', 'file_id', 'history', 'accepted_ms' }) do
    if letter[name] then redis.call('HSET', task, name, letter[name]) end
  end
  redis.call('HSET', task, 'state', 'queued', 'kind', letter.kind or '', 'lane', letter.lane or '', 'entry', entry,
    'inboxes', '', 'replays', (letter.replays or 0) + 1, 'buried_ms', string.match(id, '%d+'),
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
local state = other_life(letter)
if state then
  return { 'conflict', state }
end
if #original == 0 then
  return { 'empty' }
end
local backlog = redis.call('XLEN', stream)
if backlog >= tonumber(cap) then
  return { 'full', backlog }
end
local entry = redis.call('XADD', stream, '*', unpack(original))
open_again(letter, entry)
redis.call('XDEL', dead, id)
redis.call('SET', mark, entry, 'PX', mark_ms)
return { 'replayed', entry }
