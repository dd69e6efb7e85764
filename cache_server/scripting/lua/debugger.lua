-- The Lua side of the debugger: where a script stops, and what it shows of itself there.
--
-- Loaded by `core.lua` into an interpreter that is made for one session. The host decides whether to
-- stop at a line and reads the commands (see debugger.py); what needs the stack is done here.

local core = ...

local error, pcall, type, tostring, next, select = core.error, core.pcall, core.type, core.tostring, core.next, core.select
local getinfo, getlocal, sethook, loadstring, unpack = core.getinfo, core.getlocal, core.sethook, core.loadstring, core.unpack
local rawget, real_of, redis = core.rawget, core.real_of, core.redis
local compile, coded_error, globals = core.compile, core.coded_error, core.globals
local concat, format, gsub, byte, find, sub =
  core.table.concat, core.string.format, core.string.gsub, core.string.byte, core.string.find, core.string.sub
local host_stops, host_next, host_show = core.host_stops, core.host_next, core.host_show
local host_stepping, host_breakpoint = core.host_stepping, core.host_breakpoint

local HOOK_INSTRUCTIONS = 100000
local DEPTH_MAX = 10
local VALUES_MAX = 20000 -- of one dump: tables that name each other would be shown without end
local WORDS_SHOWN_MAX = 10

local ESCAPES = {["\\"] = "\\\\", ['"'] = '\\"', ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ["\a"] = "\\a", ["\b"] = "\\b"}

local function quoted(text)
  return '"' .. gsub(text, '[%c\\"\128-\255]', function(char)
    return ESCAPES[char] or format("\\x%02x", byte(char))
  end) .. '"'
end

local values_left

local function shown(value, depth)
  local kind = type(value)
  values_left = values_left - 1
  if depth == DEPTH_MAX then return "<max recursion level reached! Nested table?>" end
  if values_left < 0 then return "..." end
  if kind == "string" then return quoted(value) end
  if kind == "number" then return format("%g", value) end
  if kind == "boolean" or kind == "nil" then return tostring(value) end
  if kind ~= "table" then return '"' .. gsub(tostring(value), ": ", "@", 1) .. '"' end
  local list, map, expected = {}, {}, 1
  local is_list = true
  for key, item in next, real_of[value] or value do
    local text = shown(item, depth + 1)
    is_list = is_list and key == expected
    list[expected] = text
    map[expected] = "[" .. shown(key, depth + 1) .. "]=" .. text
    expected = expected + 1
    if values_left < 0 then break end
  end
  return "{" .. concat(is_list and list or map, "; ") .. "}"
end

local function dump(value)
  values_left = VALUES_MAX
  return shown(value, 0)
end

local function joined(open, items, close)
  return open .. concat(items, ",") .. close
end

-- A reply as the script got it, in the words of the protocol.
local function human(reply)
  local kind = type(reply)
  if kind == "string" then return quoted(reply) end
  if kind == "number" then return format("%.17g", reply) end
  if kind == "nil" then return "(null)" end
  if kind == "boolean" then return reply and "#true" or "NULL" end
  if reply.ok then return quoted("+" .. reply.ok) end
  if reply.err then return quoted("-" .. reply.err) end
  if reply.double then return "(double) " .. format("%.17g", reply.double) end
  local items = {}
  if reply.map then
    for key, value in next, reply.map do items[#items + 1] = human(key) .. " => " .. human(value) end
    return joined("{", items, "}")
  end
  if reply.set then
    for member in next, reply.set do items[#items + 1] = human(member) end
    return joined("~(", items, ")")
  end
  for i = 1, #reply do items[i] = human(reply[i]) end
  return joined("[", items, "]")
end

local function show_command(...)
  local words, count = {}, select("#", ...)
  for i = 1, count do
    if i > WORDS_SHOWN_MAX then
      words[i] = "... (" .. count - i .. " more)"
      break
    end
    words[i] = tostring((select(i, ...)))
  end
  host_show("<redis> " .. concat(words, " "), false)
end

local plain_call, plain_pcall = redis.call, redis.pcall

local function watched_call(...)
  if not host_stepping() then return plain_pcall(...) end
  show_command(...)
  local reply = plain_pcall(...)
  local problem = type(reply) == "table" and reply.err
  if problem and (not reply.ignore_error_stats_update or find(problem, " from script$")) then
    -- It did not come to a command.
    host_show("<error> " .. gsub(problem, "^ERR ", ""), false)
    return reply
  end
  if problem then host_show("<error> -" .. problem, false) end
  host_show("<reply> " .. human(reply), true)
  return reply
end

redis.pcall = watched_call
redis.call = function(...)
  if not host_stepping() then return plain_call(...) end
  local reply = watched_call(...)
  if type(reply) == "table" and reply.err then error(reply) end
  return reply
end
redis.breakpoint = function()
  host_breakpoint()
  return true
end
redis.debug = function(...)
  local values, line = {}, getinfo(2, "l").currentline
  for i = 1, select("#", ...) do values[i] = dump((select(i, ...))) end
  host_show("<debug> line " .. line .. ": " .. concat(values, ", "), false)
end

-- Frames of the script, innermost first, from the stack level at which the hook was called.
local function frames(level)
  return function()
    while true do
      local info = getinfo(level + 1, "Snl")
      if info == nil then return nil end
      level = level + 1
      if info.what ~= "C" and info.what ~= "tail" and info.source ~= "=engine" then return level, info end
    end
  end
end

local function print_one(name, level)
  for at in frames(level + 1) do
    local i = 1
    while true do
      local found, value = getlocal(at - 1, i) -- `frames` counts from one frame further in
      if found == nil then break end
      if found == name then return host_show("<value> " .. dump(value), true) end
      i = i + 1
    end
  end
  if name == "ARGV" or name == "KEYS" then return host_show("<value> " .. dump(globals[name]), true) end
  host_show("No such variable.", false)
end

local function print_all(level)
  local i, count = 1, 0
  while true do
    local name, value = getlocal(level + 1, i)
    if name == nil then break end
    if not find(name, "(*temporary)", 1, true) then
      host_show("<value> " .. name .. " = " .. dump(value), true)
      count = count + 1
    end
    i = i + 1
  end
  if count == 0 then host_show("No local variables in the current context.", false) end
end

local function text_of_error(problem)
  if type(problem) == "table" then return tostring(rawget(problem, "err")) end
  return tostring(problem)
end

local function evaluate(code)
  local compiled, problem = compile("return " .. code, "@ldb_eval")
  if not compiled then compiled, problem = compile(code, "@ldb_eval") end
  if not compiled then return host_show("<error> " .. problem, false) end
  local ok, value = pcall(compiled)
  if not ok then return host_show("<error> " .. text_of_error(value), false) end
  host_show("<retval> " .. dump(value), true)
end

local function trace(level)
  local first = true
  for _, info in frames(level + 1) do
    if find(info.short_src, "user_script", 1, true) then
      core.host_trace((first and "In " or "From ") .. (info.name or "top level") .. ":", info.currentline)
    end
    first = false
  end
end

local function on_line(event)
  local info = getinfo(2, "Sl")
  if not find(info.short_src, "user_script", 1, true) then return end
  if not host_stops(info.currentline, event == "count") then return end
  while true do
    local words = {host_next()}
    local action = words[1]
    if action == "run" then return end
    if action == "raise" then error(coded_error(words[2]))
    elseif action == "print" and words[2] then print_one(words[2], 2)
    elseif action == "print" then print_all(2)
    elseif action == "eval" then evaluate(words[2])
    elseif action == "trace" then trace(2)
    elseif action == "redis" then pcall(redis.call, unpack(words, 2)) end
  end
end

return function() sethook(on_line, "l", HOOK_INSTRUCTIONS) end
