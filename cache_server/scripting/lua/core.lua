-- The sandbox in which scripts run, and the Lua side of the bridge to the server.
--
-- Called once for each interpreter with the host's functions; returns what the host calls. A script
-- sees `env`, a read-only window on `globals`; nothing of the real global table, of the host's
-- objects or of the debug library is within its reach.
--
-- A read-only table is an empty proxy: reads go through __index to the real table, writes raise.
-- What would look past a metatable (rawset, next, table.insert ...) asks `real_of` first.
--
-- Lines of this file are not shown to scripts: an error that arises here is placed where the script
-- called.

local host, for_functions, deprecated_api = ...

local error, pcall, xpcall, type, tostring, tonumber = error, pcall, xpcall, type, tostring, tonumber
local select, unpack, next, pairs, rawget, rawset = select, unpack, next, pairs, rawget, rawset
local setmetatable, getmetatable, setfenv, getfenv = setmetatable, getmetatable, setfenv, getfenv
local loadstring, newproxy, getinfo, sethook = loadstring, newproxy, debug.getinfo, debug.sethook
local concat, insert, format, sub, gsub = table.concat, table.insert, string.format, string.sub, string.gsub
local find, match, gmatch, rep, byte, floor =
  string.find, string.match, string.gmatch, string.rep, string.byte, math.floor
local co_create, co_resume, collectgarbage, dump = coroutine.create, coroutine.resume, collectgarbage, string.dump
local as_function = python.as_function

local host_call, host_more = as_function(host.call), as_function(host.more)
local host_interrupt, host_log = as_function(host.interrupt), as_function(host.log)
local host_sha1, host_random = as_function(host.sha1), as_function(host.random)
local host_seed, host_set_resp = as_function(host.seed), as_function(host.set_resp)
local host_set_repl, host_check_acl = as_function(host.set_repl), as_function(host.check_acl)
local host_prepare = as_function(host.prepare)
local host_stage, host_call_staged = as_function(host.stage), as_function(host.call_staged)
local host_register, host_library = as_function(host.register), as_function(host.library)

local HOOK_INSTRUCTIONS = 100000
local PATTERN_BYTES_MAX = 10000  -- matching recurses in C once for each item of the pattern
local STRING_BYTES_MAX = 1024 * 1024 * 1024
local REPLY_DEPTH_MAX = 7990
local ARGUMENTS_MAX = 7000
local UNPACK_MAX = 8000
local INT_MAX = 2147483647

local real_globals = getfenv(1)

-- Read-only tables ---------------------------------------------------------------------------

local real_of, metatable_of = setmetatable({}, {__mode = "k"}), setmetatable({}, {__mode = "k"})

local function refuse_change()
  error("Attempt to modify a readonly table", 3)
end

local function check_writable(object)
  if real_of[object] ~= nil then error("Attempt to modify a readonly table", 0) end
end

local function read_only(real)
  local proxy = setmetatable({}, {__index = real, __newindex = function() refuse_change() end, __metatable = false})
  real_of[proxy] = real
  return proxy
end

local function refuse_missing(name)
  local kind = type(name)
  if kind ~= "string" and kind ~= "number" then
    error("Second argument to luaProtectedTableError must be a string or number", 3)
  end
  error("Script attempted to access nonexistent global variable '" .. name .. "'", 3)
end

local function missing_global(_, name)
  refuse_missing(name)
end

-- The run ------------------------------------------------------------------------------------

local functions = {}  -- what can be run, by the number that the host gave it
local globals = {}
local env = read_only(globals)
local resp = 2
local killed = false
local running = false
local registered  -- while FUNCTION LOAD runs the code of a library
local hook

local function error_table(text)
  return {err = text}
end

-- "-CODE message" keeps its code; anything else gets ERR.
local function coded_error(text)
  if byte(text, 1) == 45 then
    local space = find(text, " ", 1, true)
    if space then
      return error_table(sub(text, 2, space - 1) .. " " .. match(sub(text, space + 1), "^[\r\n]*(.-)[\r\n]*$"))
    end
    text = sub(text, 2)
  end
  return error_table("ERR " .. match(text, "^[\r\n]*(.-)[\r\n]*$"))
end

hook = function(event)
  if not running and not registered then return end
  -- Once killed, the script's lines raise; what it calls here comes to its end.
  if event == "line" and getinfo(2, "S").source == "=engine" then return end
  local reason = host_interrupt()
  if reason then
    -- From now on every line raises, so that no pcall of the script outlives it.
    killed = true
    sethook(hook, "l")
    error(error_table(reason))
  end
end

-- Where an error belongs: the innermost frame that is the script's own.
local function error_place(level)
  while true do
    local info = getinfo(level, "Sl")
    if info == nil then return nil end
    if info.what ~= "C" and info.what ~= "tail" and info.source ~= "=engine" then
      return info.source, info.currentline
    end
    level = level + 1
  end
end

-- Raises `text` as luaL_error does: with the place of who called, where that is Lua.
local function fail(text)
  local level = 2
  while true do
    local info = getinfo(level, "Sl")
    if info == nil or info.what == "C" then error(text, 0) end
    if info.what ~= "tail" and info.source ~= "=engine" then
      error(info.short_src .. ":" .. info.currentline .. ": " .. text, 0)
    end
    level = level + 1
  end
end

local function on_error(err)
  local source, line = error_place(3)
  if type(err) ~= "table" then
    local text = tostring(err)
    if type(err) == "string" and source and find(text, "^engine:%d+: ") then
      text = gsub(source, "^@", "") .. ":" .. line .. ": " .. gsub(text, "^engine:%d+: ", "")
    end
    err = error_table("ERR " .. text)
  end
  if source and real_of[err] == nil then
    rawset(err, "source", source)
    rawset(err, "line", line)
  end
  return err
end

local function text_of(value)
  local kind = type(value)
  if kind == "string" or kind == "number" then return tostring(value) end
  return nil
end

local function one_line(text)
  text = match(text, "^[\r\n]*(.-)[\r\n]*$")
  if find(text, "[\r\n]") then text = gsub(text, "[\r\n]", " ") end
  return text
end

-- What a script returned, as RESP ------------------------------------------------------------

local encode

local function encode_bulk(text)
  return "$" .. #text .. "\r\n" .. text .. "\r\n"
end

local function encode_double(number, proto)
  local text
  if number == 1 / 0 then text = "inf" elseif number == -1 / 0 then text = "-inf"
  elseif number ~= number then text = "nan" else text = format("%.17g", number) end
  if proto == 3 then return "," .. text .. "\r\n" end
  return encode_bulk(text)
end

local function encode_verbatim(parts, proto)
  local form, text = rawget(parts, "format"), rawget(parts, "string")
  if type(form) ~= "string" or type(text) ~= "string" then return nil end
  if proto ~= 3 then return encode_bulk(text) end
  return "=" .. (#text + 4) .. "\r\n" .. sub(form .. "   ", 1, 3) .. ":" .. text .. "\r\n"
end

local function encode_pairs(real, proto, out, depth, mark, with_values)
  local at, count = #out + 1, 0
  out[at] = ""
  for key, value in next, real do
    encode(key, proto, out, depth + (with_values and 4 or 2))
    if with_values then encode(value, proto, out, depth + 3) end
    count = count + 1
  end
  if proto == 3 then
    out[at] = mark .. count .. "\r\n"
  else
    out[at] = "*" .. (with_values and 2 * count or count) .. "\r\n"
  end
end

local function encode_table(value, proto, out, depth)
  local field = rawget(value, "err")
  if type(field) == "string" then out[#out + 1] = "-" .. one_line(field) .. "\r\n" return end
  field = rawget(value, "ok")
  if type(field) == "string" then out[#out + 1] = "+" .. one_line(field) .. "\r\n" return end
  field = rawget(value, "double")
  if type(field) == "number" then out[#out + 1] = encode_double(field, proto) return end
  field = rawget(value, "big_number")
  if type(field) == "string" then
    field = gsub(field, "[\r\n]", " ")
    out[#out + 1] = proto == 3 and "(" .. field .. "\r\n" or encode_bulk(field)
    return
  end
  field = rawget(value, "verbatim_string")
  if type(field) == "table" then
    local encoded = encode_verbatim(field, proto)
    if encoded then out[#out + 1] = encoded return end
  end
  field = rawget(value, "map")
  if type(field) == "table" then return encode_pairs(field, proto, out, depth, "%", true) end
  field = rawget(value, "set")
  if type(field) == "table" then return encode_pairs(field, proto, out, depth, "~", false) end
  local at, count = #out + 1, 0
  out[at] = ""
  while true do
    local item = rawget(value, count + 1)
    if item == nil then break end
    count = count + 1
    if type(item) == "string" then
      out[#out + 1] = "$" .. #item .. "\r\n" .. item .. "\r\n"
    else
      encode(item, proto, out, depth + 1)
    end
  end
  out[at] = "*" .. count .. "\r\n"
end

encode = function(value, proto, out, depth)
  local kind = type(value)
  if depth > REPLY_DEPTH_MAX then
    out[#out + 1] = "-ERR reached lua stack limit\r\n"
  elseif kind == "string" then
    out[#out + 1] = encode_bulk(value)
  elseif kind == "number" then
    out[#out + 1] = ":" .. format("%d", value) .. "\r\n"
  elseif kind == "table" then
    encode_table(value, proto, out, depth)
  elseif kind == "boolean" and resp == 3 then
    if proto == 3 then out[#out + 1] = value and "#t\r\n" or "#f\r\n"
    else out[#out + 1] = value and ":1\r\n" or ":0\r\n" end
  elseif kind == "boolean" and value then
    out[#out + 1] = ":1\r\n"
  else
    out[#out + 1] = proto == 3 and "_\r\n" or "$-1\r\n"
  end
end

-- The host gets a plain value; or true, RESP; or false, error, its place, whether it is counted. (Of
-- plain values and lists the bridge does not ask, it reads them itself.)
local function finish(ok, value, proto)
  local kind = type(value)
  if not ok then
    if kind ~= "table" then
      return false, "", tostring(value), false
    end
    local text, place = text_of(rawget(value, "err")), nil
    local source, line = text_of(rawget(value, "source")), text_of(rawget(value, "line"))
    if source and line then place = source .. ":" .. line end
    return false, text or "(null)", place, rawget(value, "ignore_error_stats_update") == true
  end
  if kind == "string" or kind == "number" then return value end
  if kind == "table" then
    local text = rawget(value, "err")
    if type(text) == "string" then
      return false, text, nil, rawget(value, "ignore_error_stats_update") == true
    end
    local out = {}
    encode_table(value, proto, out, 1)
    return true, concat(out)
  end
  if kind ~= "boolean" then return nil end
  if resp == 3 then
    if proto == 3 then return value end
    return value and 1 or 0
  end
  if value then return 1 end
  return nil
end

local function begin()
  resp = 2
  if killed then
    killed = false
    sethook(hook, "", HOOK_INSTRUCTIONS)
  end
end

-- A run: whether it came to its end, and its value or its error. `finish` says what that is to the host.
local function run_eval(number, keys, args)
  globals.KEYS, globals.ARGV = keys, args
  resp = 2
  if killed then begin() end
  running = true
  local ok, value = xpcall(functions[number], on_error)
  running = false
  if killed then begin() end
  return ok, value
end

local current, current_keys, current_args

local function call_current()
  return (current(current_keys, current_args))
end

local function run_function(number, keys, args)
  current, current_keys, current_args = functions[number], keys, args
  resp = 2
  if killed then begin() end
  running = true
  local ok, value = xpcall(call_current, on_error)
  running = false
  current, current_keys, current_args = nil, nil, nil
  if killed then begin() end
  return ok, value
end

local run = for_functions and run_function or run_eval
local staged_keys, staged_args

-- A run through lupa, with the arguments as they came.
local function run_words(number, proto, key_count, ...)
  local keys, args
  if staged_keys then
    keys, args = staged_keys, staged_args
    staged_keys, staged_args = nil, nil
  else
    keys, args = {...}, {}
    for i = key_count + 1, #keys do
      args[i - key_count] = keys[i]
      keys[i] = nil
    end
  end
  local ok, value = run(number, keys, args)
  return finish(ok, value, proto)
end

-- More arguments than one call takes arrive in portions before the run.
local function stage(are_keys, ...)
  if staged_keys == nil then staged_keys, staged_args = {}, {} end
  local list = are_keys and staged_keys or staged_args
  local count = #list
  for i = 1, select("#", ...) do list[count + i] = (select(i, ...)) end
end

-- redis.call ---------------------------------------------------------------------------------

-- A long or nested reply comes as a stream of tokens; `true` announces anything that is not plain.
local tokens, token_at, token_count

local function next_token()
  if token_at > token_count then
    tokens = {host_more()}
    token_at, token_count = 1, 200
  end
  local token = tokens[token_at]
  token_at = token_at + 1
  return token
end

local function build()
  local token = next_token()
  if token ~= true then return token end
  local kind = next_token()
  if type(kind) == "number" then
    local list = {}
    for i = 1, kind do list[i] = build() end
    return list
  elseif kind == "map" then
    local map = {}
    for _ = 1, next_token() do
      local key = build()
      map[key] = build()
    end
    return {map = map}
  elseif kind == "set" then
    local set = {}
    for _ = 1, next_token() do set[build()] = true end
    return {set = set}
  elseif kind == "true" then
    return true
  elseif kind == "err" then
    return {err = next_token(), ignore_error_stats_update = true}
  elseif kind == "verbatim" then
    local form = next_token()
    return {verbatim_string = {format = form, string = next_token()}}
  end
  return {[kind] = next_token()}
end

-- An error of a command: its text has its code, and INFO knows it already.
local function counted_error(text)
  return {err = text, ignore_error_stats_update = true}
end

local function special_reply(value, kind, ...)
  if kind == 1 then return {ok = value} end
  if kind == 2 then return {...} end
  tokens, token_at, token_count = nil, 1, 0
  local reply = build()
  tokens = nil
  return reply
end

local function call_result(value, kind, ...)
  if kind == nil then return value end
  if kind == 0 then error(counted_error(value)) end
  if kind == 4 then error(coded_error(value)) end
  return special_reply(value, kind, ...)
end

local function pcall_result(value, kind, ...)
  if kind == nil then return value end
  if kind == 0 then return counted_error(value) end
  if kind == 4 then return coded_error(value) end
  return special_reply(value, kind, ...)
end

local redis = {}

-- More arguments than a C function has room for.
local function call_in_portions(...)
  local words, count = {...}, select("#", ...)
  for at = 1, count, 200 do
    host_stage(unpack(words, at, at + 199 < count and at + 199 or count))
  end
  return host_call_staged()
end

function redis.call(...)
  if select("#", ...) > ARGUMENTS_MAX then return call_result(call_in_portions(...)) end
  return call_result(host_call(...))
end

function redis.pcall(...)
  if select("#", ...) > ARGUMENTS_MAX then return pcall_result(call_in_portions(...)) end
  return pcall_result(host_call(...))
end

if host.native then redis.call, redis.pcall, real_globals.tonumber = host.native(call_result, pcall_result, tonumber) end

local function require_run(what)
  if not running then error(coded_error(what .. " can only be called inside a script invocation")) end
end

function redis.sha1hex(...)
  if select("#", ...) ~= 1 then error(coded_error("wrong number of arguments")) end
  return host_sha1(tostring((...)))
end

function redis.error_reply(...)
  local text = ...
  if select("#", ...) ~= 1 or type(text) ~= "string" then return coded_error("wrong number or type of arguments") end
  if byte(text, 1) ~= 45 then text = "-" .. text end
  return coded_error(text)
end

function redis.status_reply(...)
  local text = ...
  if select("#", ...) ~= 1 or type(text) ~= "string" then return coded_error("wrong number or type of arguments") end
  return {ok = text}
end

function redis.setresp(...)
  require_run("redis.setresp")
  if select("#", ...) ~= 1 then error(coded_error("redis.setresp() requires one argument.")) end
  local version = tonumber((...)) or 0
  version = floor(version)
  if version ~= 2 and version ~= 3 then error(coded_error("RESP version must be 2 or 3.")) end
  resp = version
  host_set_resp(version)
end

function redis.set_repl(...)
  require_run("redis.set_repl")
  if select("#", ...) ~= 1 then error(coded_error("redis.set_repl() requires two arguments.")) end
  local flags = tonumber((...)) or 0
  if flags < 0 or flags >= 4 then
    error(coded_error("Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE."))
  end
  host_set_repl(floor(flags))
end

function redis.acl_check_cmd(...)
  require_run("redis.acl_check_cmd")
  local allowed, problem = host_check_acl(...)
  if problem then error(coded_error(problem)) end
  return allowed
end

local function log(...)
  local count = select("#", ...)
  if count < 2 then error(coded_error("redis.log() requires two arguments or more.")) end
  local level = tonumber((...))
  if not level then error(coded_error("First argument must be a number (log level).")) end
  level = floor(level)
  if level < 0 or level > 3 then error(coded_error("Invalid debug level.")) end
  local words = {}
  for i = 2, count do
    local word = text_of((select(i, ...)))
    if word then words[#words + 1] = word end
  end
  host_log(level, concat(words, " "))
end

local function add_common(api)
  api.log = log
  api.LOG_DEBUG, api.LOG_VERBOSE, api.LOG_NOTICE, api.LOG_WARNING = 0, 1, 2, 3
  api.REDIS_VERSION, api.REDIS_VERSION_NUM = host.version, host.version_number
end

add_common(redis)
redis.REPL_NONE, redis.REPL_AOF, redis.REPL_SLAVE, redis.REPL_REPLICA, redis.REPL_ALL = 0, 1, 2, 2, 3

if not for_functions then
  function redis.breakpoint() return false end
  function redis.debug() end
  function redis.replicate_commands() return true end
end

-- The standard library, made safe ------------------------------------------------------------

local function pcall_finish(ok, err, ...)
  if not ok and type(err) == "string" and find(err, "^engine:%d+: ") then return false, (gsub(err, "^engine:%d+: ", "")) end
  if not ok and type(err) == "table" then
    local text = err.err
    if type(text) == "string" or type(text) == "number" then return false, text end
  end
  return ok, err, ...
end

globals.pcall = function(...)
  return pcall_finish(pcall(...))
end

globals.setmetatable = function(object, metatable)
  check_writable(object)
  return setmetatable(object, metatable)
end

globals.getmetatable = function(object)
  if real_of[object] ~= nil then return metatable_of[object] end
  if type(object) == "string" then return metatable_of[""] end
  return getmetatable(object)
end

globals.rawset = function(object, key, value)
  check_writable(object)
  return rawset(object, key, value)
end

globals.rawget = function(object, key)
  return rawget(real_of[object] or object, key)
end

local function next_of(object, key)
  return next(real_of[object] or object, key)
end

globals.next = next_of

globals.pairs = function(object)
  if object ~= nil and real_of[object] ~= nil then return next_of, object, nil end
  return pairs(object)
end

local function compile(text, name)
  if byte(text, 1) == 27 then
    return nil, (name and sub(name, 2) or "?") .. ":1: unexpected symbol near 'char(27)'"
  end
  local compiled, problem = loadstring(text, name)
  if not compiled then return nil, problem end
  local prepared, refusal = host_prepare(dump(compiled))
  if not prepared then return nil, refusal end
  return setfenv(loadstring(prepared), env)
end

globals.loadstring = function(text, name)
  if type(text) ~= "string" then return loadstring(text, name) end
  return compile(text, name or text)
end

globals.load = function(reader, name)
  local pieces = {}
  while true do
    local piece = reader()
    if piece == nil or piece == "" then break end
    if type(piece) ~= "string" then return nil, "reader function must return a string" end
    pieces[#pieces + 1] = piece
  end
  return compile(concat(pieces), name or "=(load)")
end

local coroutine_library = {}
for name, value in pairs(coroutine) do coroutine_library[name] = value end

local function create_coroutine(body)
  local thread = co_create(body)
  sethook(thread, hook, "", HOOK_INSTRUCTIONS)
  return thread
end

local function unwrap(ok, ...)
  if not ok then error((...), 3) end
  return ...
end

coroutine_library.create = create_coroutine
coroutine_library.wrap = function(body)
  local thread = create_coroutine(body)
  return function(...) return unwrap(co_resume(thread, ...)) end
end

local string_library = {}
for name, value in pairs(string) do string_library[name] = value end

local function check_pattern(pattern)
  if type(pattern) == "string" and #pattern > PATTERN_BYTES_MAX then error("pattern too complex", 3) end
end

string_library.find = function(...)
  local _, pattern, _, plain = ...
  if not plain then check_pattern(pattern) end
  return find(...)
end
string_library.match = function(...)
  local _, pattern = ...
  check_pattern(pattern)
  return match(...)
end
string_library.gmatch = function(...)
  local _, pattern = ...
  check_pattern(pattern)
  return gmatch(...)
end
string_library.gfind = string_library.gmatch
string_library.gsub = function(...)
  local _, pattern = ...
  check_pattern(pattern)
  return gsub(...)
end
string_library.rep = function(text, count)
  local times = tonumber(count)
  if type(text) == "string" and times then
    if #text == 0 then return "" end
    if #text * times > STRING_BYTES_MAX then error("not enough memory", 2) end
  end
  return rep(text, count)
end

-- The bundled `unpack` takes a range beyond the integers for an empty one, and writes on.
globals.unpack = function(...)
  local list, first, last = ...
  if type(list) ~= "table" then return unpack(...) end
  first = first == nil and 1 or tonumber(first)
  last = last == nil and #list or tonumber(last)
  if not first or not last then return unpack(...) end
  if first < -INT_MAX - 1 or last > INT_MAX or last - first >= UNPACK_MAX then
    error("too many results to unpack", 2)
  end
  return unpack(...)
end

local table_library = {}
for name, value in pairs(table) do table_library[name] = value end

table_library.insert = function(...)
  check_writable((...))
  return insert(...)
end

local math_library = {}
for name, value in pairs(math) do math_library[name] = value end

math_library.random = function(...)
  if not running then error("math.random can only be called inside a script invocation", 2) end
  local r, count = host_random(), select("#", ...)
  if count == 0 then return r end
  local low, high = 1, (...)
  if count == 2 then low, high = ... elseif count > 2 then error("wrong number of arguments", 2) end
  low, high = tonumber(low), tonumber(high)
  if not low or not high then
    error("bad argument #" .. (low and count or 1) .. " to 'random' (number expected, got " ..
      type((select(low and count or 1, ...))) .. ")", 2)
  end
  low, high = low - low % 1, high - high % 1
  if low > high then error("bad argument #" .. count .. " to 'random' (interval is empty)", 2) end
  return floor(r * (high - low + 1)) + low
end

math_library.randomseed = function(seed)
  if not running then error("math.randomseed can only be called inside a script invocation", 2) end
  local number = tonumber(seed)
  if not number then
    error("bad argument #1 to 'randomseed' (number expected, got " .. (seed == nil and "no value" or type(seed)) .. ")", 2)
  end
  host_seed(number)
end

for _, name in pairs({"xpcall", "tostring", "assert", "tonumber", "rawequal", "collectgarbage", "type",
    "select", "gcinfo", "ipairs", "_VERSION", "error"}) do
  globals[name] = real_globals[name]
end

if deprecated_api then
  globals.newproxy = newproxy
  local function environment(target)
    if type(target) == "number" or target == nil then
      target = target or 1
      return getfenv(target > 0 and target + 2 or target)
    end
    return getfenv(target)
  end
  globals.getfenv = function(target)
    local found = environment(target)
    if found == real_globals then return env end
    return found
  end
  globals.setfenv = function(target, new)
    if target == 0 or environment(target) == real_globals then
      error("'setfenv' cannot change environment of given object", 2)
    end
    return setfenv(type(target) == "number" and target + 1 or target, new)
  end
end

globals._G = env
globals.redis = read_only(redis)
globals.string = read_only(string_library)
globals.table = read_only(table_library)
globals.math = read_only(math_library)
globals.coroutine = read_only(coroutine_library)

local string_metatable = getmetatable("")
string_metatable.__index = string_library
metatable_of[""] = read_only({__index = globals.string})

-- The big libraries are loaded when a script first names them.
local tools = {
  double_bytes = as_function(host.double_bytes), bytes_double = as_function(host.bytes_double),
  struct_pack = as_function(host.struct_pack), struct_unpack = as_function(host.struct_unpack),
  struct_size = as_function(host.struct_size), bit_operation = as_function(host.bit_operation),
  real_of = real_of, read_only = read_only, string = string, table = table, math = math,
  error = error, fail = fail, type = type, tostring = tostring, tonumber = tonumber, select = select, next = next,
  rawget = rawget, setmetatable = setmetatable, newproxy = newproxy, unpack = unpack, pcall = pcall,
}
local lazy = {cjson = true, cmsgpack = true, struct = true, bit = true}

local function load_library(name)
  local library = read_only(loadstring(host_library(name))(tools))
  globals[name] = library
  return library
end

setmetatable(globals, {__index = function(_, name)
  if lazy[name] then return load_library(name) end
  refuse_missing(name)
end})
metatable_of[env] = read_only({__index = missing_global})

-- Libraries of functions ---------------------------------------------------------------------

local function to_text(value, problem)
  local text = text_of(value)
  if not text then error(coded_error(problem)) end
  return text
end

local function read_flags(list)
  local flags = {}
  local i = 1
  while list[i] ~= nil do
    local flag = text_of(list[i])
    if not flag then error(coded_error("unknown flag given")) end
    flags[i] = flag
    i = i + 1
  end
  return concat(flags, ",")
end

local function read_named(options)
  if type(options) ~= "table" then
    error(coded_error("calling redis.register_function with a single argument is only applicable to Lua table (representing named arguments)."))
  end
  local name, description, callback, flags
  for key, value in next, options do
    key = to_text(key, "named argument key given to redis.register_function is not a string"):lower()
    if key == "function_name" then
      name = to_text(value, "function_name argument given to redis.register_function must be a string")
    elseif key == "description" then
      description = to_text(value, "description argument given to redis.register_function must be a string")
    elseif key == "callback" then
      if type(value) ~= "function" then
        error(coded_error("callback argument given to redis.register_function must be a function"))
      end
      callback = value
    elseif key == "flags" then
      if type(value) ~= "table" then
        error(coded_error("flags argument to redis.register_function must be a table representing function flags"))
      end
      flags = read_flags(value)
    else
      error(coded_error("unknown argument given to redis.register_function"))
    end
  end
  if not name then error(coded_error("redis.register_function must get a function name argument")) end
  if not callback then error(coded_error("redis.register_function must get a callback argument")) end
  return name, callback, description, flags or ""
end

local library_redis = {}

library_redis.register_function = function(...)
  if not registered then
    error(coded_error("redis.register_function can only be called on FUNCTION LOAD command"))
  end
  local count = select("#", ...)
  if count < 1 or count > 2 then error(coded_error("wrong number of arguments to redis.register_function")) end
  local name, callback, description, flags
  if count == 1 then
    name, callback, description, flags = read_named(...)
  else
    name, callback = ...
    name = to_text(name, "first argument to redis.register_function must be a string")
    if type(callback) ~= "function" then
      error(coded_error("second argument to redis.register_function must be a function"))
    end
    flags = ""
  end
  local number, problem = host_register(name, description or false, flags)
  if not number then error(coded_error(problem)) end
  functions[number] = callback
end

add_common(library_redis)

local env_metatable = debug.getmetatable(env)
local library_globals = setmetatable(
  {redis = read_only(setmetatable(library_redis, {__index = missing_global}))}, {__index = missing_global})

local function load_functions(text)
  env_metatable.__index = library_globals
  local compiled, problem = compile(text, "@user_function")
  if not compiled then
    env_metatable.__index = globals
    return false, "Error compiling function: " .. problem
  end
  registered = true
  begin()
  local ok, err = pcall(compiled)
  if killed then begin() end
  registered = nil
  env_metatable.__index = globals
  if ok then return true end
  local message
  if type(err) == "table" then message = text_of(rawget(err, "err")) or "(null)" else message = "ERR " .. tostring(err) end
  return false, "Error registering functions: " .. message
end

local function load_script(number, text)
  local compiled, problem = compile(text, "@user_script")
  if not compiled then return problem end
  functions[number] = compiled
end

local function forget(number)
  functions[number] = nil
end

-- An interpreter that is made to debug one script stops at its lines.
local begin_debugging
if host.debug_stops then
  tools.getinfo, tools.getlocal, tools.sethook, tools.loadstring = getinfo, debug.getlocal, sethook, loadstring
  tools.redis, tools.compile, tools.coded_error, tools.globals = redis, compile, coded_error, globals
  for _, name in pairs({"stops", "next", "show", "stepping", "breakpoint", "trace"}) do
    tools["host_" .. name] = as_function(host["debug_" .. name])
  end
  begin_debugging = loadstring(host_library("debugger"))(tools)
end

-- Nothing of the real globals is left for a script that would find a way to them.
sethook(hook, "", HOOK_INSTRUCTIONS)
if begin_debugging then begin_debugging() end
local keep = {}
for name in pairs(real_globals) do keep[#keep + 1] = name end
for _, name in pairs(keep) do real_globals[name] = nil end

return run_words, run, finish, load_script, load_functions, stage, forget, collectgarbage
