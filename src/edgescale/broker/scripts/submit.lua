#!lua
-- Accepts a batch of tasks: each is queued, attached to its earlier submission, or refused.
--
-- KEYS  for item i: [2i-1] task hash, [2i] stream
-- ARGV  [1] group  then for each item 8 values: request id, kind, lane, digest, file id, cap, inbox, envelope;
--       the inbox waits for the result, '' for none
-- Reply for each item one of
--   {'accepted', entry}      the entry is in the stream
--   {'known', hash}          same id, same digest: attached to the open task, or settled already; the hash tells
--   {'conflict'}             same id, other digest; nothing changed
--   {'full', backlog}        the lane is at its cap; nothing changed
--
-- Repeating a call is harmless: what was accepted is then known. Without `allow-oom` the whole script is refused
-- before its first write when memory is out, so that no half of a batch is accepted.
-- A task whose entry was taken away by hand is accepted anew in its lane, with whatever content.
local group = ARGV[1]
local backlogs = {}
local replies = {}
for item = 1, #KEYS / 2 do
  local task, stream = KEYS[2 * item - 1], KEYS[2 * item]
  local request_id, kind, lane, digest, file_id, cap, inbox, envelope = unpack(ARGV, 8 * item - 6, 8 * item + 1)
  local known = redis.call('HMGET', task, 'digest', 'state', 'lane', 'entry')
  local open = known[2] and not TERMINAL[known[2]]
  -- Of a task of another lane nothing can be said here: its stream is not among the keys.
  local forgotten = open and known[3] == lane and removed(stream, group, known[4])
  -- A record without a digest was written by a settlement that outlived its submission's record.
  if known[2] and not forgotten and known[1] and known[1] ~= digest then
    replies[item] = { 'conflict' }
  elseif known[2] and not forgotten then
    if open then
      attach(task, inbox)
    end
    replies[item] = { 'known', redis.call('HGETALL', task) }
  else
    backlogs[stream] = backlogs[stream] or redis.call('XLEN', stream)
    if backlogs[stream] >= tonumber(cap) then
      replies[item] = { 'full', backlogs[stream] }
    else
      local entry = redis.call('XADD', stream, '*', 'request_id', request_id, 'envelope', envelope)
      if forgotten then
        redis.call('DEL', task)
      end
      redis.call('HSET', task, 'state', 'queued', 'kind', kind, 'lane', lane, 'digest', digest,
        'file_id', file_id, 'entry', entry, 'inboxes', inbox, 'accepted_ms', string.match(entry, '%d+'))
      backlogs[stream] = backlogs[stream] + 1
      replies[item] = { 'accepted', entry }
    end
  end
end
return replies
