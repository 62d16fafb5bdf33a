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

local encode

local function encode_table(value, null)
  local failure, status = rawget(value, 'err'), rawget(value, 'ok')
  if type(failure) == 'string' then
    return '-' .. string.gsub(failure, '[\r\n]', ' ') .. '\r\n'
  elseif type(status) == 'string' then
    return '+' .. string.gsub(status, '[\r\n]', ' ') .. '\r\n'
  end
  local parts, count = { '' }, 0
  local item = rawget(value, 1)
  while item ~= nil do
    count = count + 1
    parts[count + 1] = encode(item, null)
    item = rawget(value, count + 1)
  end
  parts[1] = '*' .. count .. '\r\n'
  return concat(parts)
end

-- Numbers lose their fraction, a table ends at its first nil, false is null.
encode = function(value, null)
  local kind = type(value)
  if kind == 'string' then
    return '$' .. #value .. '\r\n' .. value .. '\r\n'
  elseif kind == 'number' then
    return format(':%.0f\r\n', value < 0 and ceil(value) or floor(value))
  elseif kind == 'table' then
    return encode_table(value, null)
  end
  return value == true and ':1\r\n' or null
end

local function compile(body)
  local script, problem = loadstring(body, '@user_script')
  return script and setfenv(script, environment), problem
end

local function run(script, keys, args, null)
  globals.KEYS, globals.ARGV = keys, args
  local done, value = xpcall(script, on_failure)
  if done then
    return encode(value, null)
  end
  return nil, value.err, value.source, value.line
end

return compile, run
