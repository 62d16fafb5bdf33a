#!lua
-- Accepts a batch of tasks: each is queued, attached to its earlier submission, or refused.
--
-- KEYS  for item i: [4i-3] task hash, [4i-2] stream, [4i-1] those who wait, [4i] chain
-- ARGV  [1] group  then for each item 9 values: request id, kind, lane, digest, file id, ordering key, cap, inbox,
--       envelope; the ordering key is '' for none; the inbox waits for the result, '' for none
-- Reply for each item one of
--   {'accepted', id, waits}  the entry is in the stream, or waits until those before it have ended
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
for item = 1, #KEYS / 4 do
  local task, stream, waiting, chain = unpack(KEYS, 4 * item - 3, 4 * item)
  local request_id, kind, lane, digest, file_id, ordering_key, cap, inbox, envelope =
    unpack(ARGV, 9 * item - 7, 9 * item + 1)
  if ordering_key ~= '' then
    mend(stream, group, waiting, chain)
  end
  local known = redis.call('HMGET', task, 'digest', 'state', 'lane', 'ordering_key', 'entry', 'place')
  local open = known[2] and not TERMINAL[known[2]]
  -- Of a task of another lane or ordering key nothing can be said here: its entry is not in these streams.
  local forgotten = open and known[3] == lane and (known[4] or '') == ordering_key
    and lost(stream, group, known[5], known[6], waiting, chain, request_id)
  -- A record without a digest was written by a settlement that outlived its submission's record.
  if known[2] and not forgotten and known[1] and known[1] ~= digest then
    replies[item] = { 'conflict' }
  elseif known[2] and not forgotten then
    if open then
      attach(task, inbox)
    end
    replies[item] = { 'known', redis.call('HGETALL', task) }
  else
    backlogs[stream] = backlogs[stream] or redis.call('XLEN', stream) + redis.call('XLEN', waiting)
    if backlogs[stream] >= tonumber(cap) then
      replies[item] = { 'full', backlogs[stream] }
    else
      local entry, waits
      if ordering_key == '' then
        entry = redis.call('XADD', stream, '*', 'request_id', request_id, 'envelope', envelope)
      else
        entry, waits = queue_up(stream, waiting, chain, request_id,
          { 'request_id', request_id, 'envelope', envelope, 'ordering_key', ordering_key })
      end
      if forgotten then
        redis.call('DEL', task)
        redis.call('XDEL', waiting, known[6] or '0-0')
      end
      redis.call('HSET', task, 'state', 'queued', 'kind', kind, 'lane', lane, 'digest', digest,
        'file_id', file_id, waits and 'place' or 'entry', entry, 'inboxes', inbox,
        'accepted_ms', string.match(entry, '%d+'))
      if ordering_key ~= '' then
        redis.call('HSET', task, 'ordering_key', ordering_key)
      end
      backlogs[stream] = backlogs[stream] + 1
      replies[item] = { 'accepted', entry, waits and 1 or 0 }
    end
  end
end
return replies
