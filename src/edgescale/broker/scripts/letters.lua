#!lua flags=no-writes
-- Reads dead letters from the newest on, without the bytes of their entries.
--
-- KEYS  [1] dead letters
-- ARGV  [1] from which id on, as XREVRANGE takes it  [2] how many letters at most  [3] how many to look at, at most
--       [4] lane  [5] kind  [6] reason  [7] request id; only letters that have these, '' for any
-- Reply {reached, {{id, bytes of the entry, {field, value, ...}}, ...}}; `reached` is the last that was looked at, '' when
-- there is none behind it.
--
-- One at a time: a letter may be as large as anything that was ever sent.
local dead = KEYS[1]
local from, count, looks, wanted = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), {}
for index, name in ipairs({ 'lane', 'kind', 'reason', 'request_id' }) do
  if ARGV[index + 3] ~= '' then wanted[name] = ARGV[index + 3] end
end

-- The letter's own fields, but for its history, and the bytes of its entry; nil when it is not wanted.
local function told(fields)
  local own, bytes = {}, 0
  for index = 1, #fields, 2 do
    local name, value = fields[index], fields[index + 1]
    if string.sub(name, 1, 6) == 'entry.' then
      bytes = bytes + #name - 6 + #value
    elseif wanted[name] and wanted[name] ~= value then
      return nil
    elseif name ~= 'history' then
      own[#own + 1] = name
      own[#own + 1] = value
    end
  end
  return own, bytes
end

local letters, reached = {}, ''
for _ = 1, looks do
  local found = redis.call('XREVRANGE', dead, from, '-', 'COUNT', 1)
  if #found == 0 then return { '', letters } end
  reached = found[1][1]
  from = '(' .. reached
  local own, bytes = told(found[1][2])
  if own then
    letters[#letters + 1] = { reached, bytes, own }
    if #letters == count then break end
  end
end
return { reached, letters }
