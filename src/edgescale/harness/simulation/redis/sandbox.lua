-- What a script finds around it, and how it is run. Loaded once for each engine.
-- Source: Redis, "Scripting with Lua" and "Lua API reference".
--
-- Takes   invoke(raise, ...)   carries a command out: its reply, or for a raising one an exception
--         explain(failure)     the text of such an exception
--         sha1hex(text)
-- Returns compile(body)        a function, or nil and what is wrong
--         run(script, keys, args, null)
--                              the encoded reply, or nil, message, source, line

local call, pcall_command, explain, sha1hex = ...
local getinfo = debug.getinfo
local floor, ceil, format, concat = math.floor, math.ceil, string.format, table.concat

-- A view that can be read and not be changed.
local function guarded(members, missing)
  return setmetatable({}, {
    __index = setmetatable(members, { __index = missing }),
    __newindex = function() error('Attempt to modify a readonly table', 2) end,
    __metatable = false,
  })
end

local function copy(from, ...)
  local to = {}
  for _, name in ipairs({ ... }) do
    to[name] = from[name]
  end
  return to
end

-- An exception of a command that failed becomes the table that the server would raise.
local function as_error(failure)
  return type(failure) == 'userdata' and { err = explain(failure) } or failure
end

local function reply_with(key)
  return function(text)
    if type(text) ~= 'string' then
      return { err = 'ERR wrong number or type of arguments' }
    end
    return { [key] = text }
  end
end

local function error_reply(text)
  if type(text) ~= 'string' then
    return { err = 'ERR wrong number or type of arguments' }
  end
  text = string.gsub(text, '^-', '')
  -- A single word is a text without a code, and gets the common one.
  return { err = string.find(text, ' ', 1, true) and text or 'ERR ' .. text }
end

local redis = {
  call = call,
  pcall = pcall_command,
  error_reply = error_reply,
  status_reply = reply_with('ok'),
  sha1hex = sha1hex,
  log = function() end,
  replicate_commands = function() return true end,
  LOG_DEBUG = 0, LOG_VERBOSE = 1, LOG_NOTICE = 2, LOG_WARNING = 3,
}

local globals = copy(_G, 'assert', 'error', 'getmetatable', 'ipairs', 'next', 'pairs', 'rawequal', 'rawget', 'rawset',
  'select', 'setmetatable', 'tonumber', 'tostring', 'type', 'unpack', 'xpcall', '_VERSION')
-- Scripts see the text of a failed command, not its table.
globals.pcall = function(...)
  local results = { pcall(...) }
  if not results[1] then
    local failure = as_error(results[2])
    results[2] = type(failure) == 'table' and failure.err or failure
  end
  return unpack(results, 1, table.maxn(results))
end
globals.redis = guarded(redis)
globals.server = globals.redis
globals.string = guarded(copy(string, 'byte', 'char', 'find', 'format', 'gmatch', 'gsub', 'len', 'lower', 'match', 'rep',
  'reverse', 'sub', 'upper'))
globals.table = guarded(copy(table, 'concat', 'foreach', 'foreachi', 'getn', 'insert', 'maxn', 'remove', 'sort'))
-- No random: it would differ from run to run.
globals.math = guarded(copy(math, 'abs', 'acos', 'asin', 'atan', 'atan2', 'ceil', 'cos', 'cosh', 'deg', 'exp', 'floor',
  'fmod', 'frexp', 'huge', 'ldexp', 'log', 'log10', 'max', 'min', 'modf', 'pi', 'pow', 'rad', 'sin', 'sinh', 'sqrt',
  'tan', 'tanh'))
globals.coroutine = guarded(copy(coroutine, 'create', 'resume', 'running', 'status', 'wrap', 'yield'))
local environment = guarded(globals, function(_, name)
  error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
end)
globals._G = environment

-- Where the script was when it failed: the first place that is its own.
local function on_failure(failure)
  failure = as_error(failure)
  if type(failure) ~= 'table' then
    failure = { err = 'ERR ' .. tostring(failure) }
  end
  local level = 2
  local place = getinfo(level, 'Sl')
  while place and place.source ~= '@user_script' do
    level = level + 1
    place = getinfo(level, 'Sl')
  end
  if place then
    failure.source, failure.line = place.source, place.currentline
  end
  return failure
end

-- What stands in front of a string of this many bytes.
local heads = setmetatable({}, { __index = function(known, size)
  local head = '$' .. size .. '\r\n'
  known[size] = head
  return head
end })

-- Puts the encoded value behind the parts, of which there are `count`; says how many there are then.
local put

local function put_table(parts, count, value, null)
  local failure, status = rawget(value, 'err'), rawget(value, 'ok')
  if type(failure) == 'string' then
    parts[count + 1] = '-' .. string.gsub(failure, '[\r\n]', ' ') .. '\r\n'
    return count + 1
  elseif type(status) == 'string' then
    parts[count + 1] = '+' .. string.gsub(status, '[\r\n]', ' ') .. '\r\n'
    return count + 1
  end
  local head, items = count + 1, 0
  count = head
  local item = rawget(value, 1)
  while item ~= nil do
    items = items + 1
    count = put(parts, count, item, null)
    item = rawget(value, items + 1)
  end
  parts[head] = '*' .. items .. '\r\n'
  return count
end

-- Numbers lose their fraction, a table ends at its first nil, false is null.
put = function(parts, count, value, null)
  local kind = type(value)
  if kind == 'string' then
    parts[count + 1], parts[count + 2], parts[count + 3] = heads[#value], value, '\r\n'
    return count + 3
  elseif kind == 'table' then
    return put_table(parts, count, value, null)
  elseif kind == 'number' then
    parts[count + 1] = format(':%.0f\r\n', value < 0 and ceil(value) or floor(value))
  else
    parts[count + 1] = value == true and ':1\r\n' or null
  end
  return count + 1
end

local function compile(body)
  local script, problem = loadstring(body, '@user_script')
  return script and setfenv(script, environment), problem
end

local function run(script, keys, args, null)
  globals.KEYS, globals.ARGV = keys, args
  local done, value = xpcall(script, on_failure)
  if done then
    local parts = {}
    put(parts, 0, value, null)
    return concat(parts)
  end
  return nil, value.err, value.source, value.line
end

return compile, run
