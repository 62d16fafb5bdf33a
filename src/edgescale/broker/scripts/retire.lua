#!lua flags=allow-oom
-- Removes the consumers of a group that own nothing and have been silent for long: what dead workers leave behind.
--
-- KEYS  [1] stream
-- ARGV  [1] group  [2] silence in milliseconds
-- Reply the names of those that were removed.
--
-- Looking and removing are one step, for XGROUP DELCONSUMER forgets whatever its consumer owns by then.
local stream, group, silence_ms = KEYS[1], ARGV[1], tonumber(ARGV[2])
local consumers = redis.pcall('XINFO', 'CONSUMERS', stream, group)
local removed = {}
if consumers.err then
  return removed
end
for _, row in ipairs(consumers) do
  local facts = {}
  for index = 1, #row, 2 do facts[row[index]] = row[index + 1] end
  if facts['pending'] == 0 and facts['idle'] >= silence_ms then
    redis.call('XGROUP', 'DELCONSUMER', stream, group, facts['name'])
    removed[#removed + 1] = facts['name']
  end
end
return removed
