-- cmsgpack 0.4 as Redis carries it: MessagePack from and to Lua values.
-- https://github.com/msgpack/msgpack/blob/master/spec.md
--
-- Integers are written in the fewest bytes; tables nested deeper than 16 become nil, which also ends
-- circular ones. A truncated input says "Missing bytes in input."

local tools = ...
local string, type, error, fail, next, select, tonumber, tostring =
  tools.string, tools.type, tools.error, tools.fail, tools.next, tools.select, tools.tonumber, tools.tostring
local byte, char, sub, concat, floor = string.byte, string.char, string.sub, tools.table.concat, tools.math.floor
local double_bytes, bytes_double, real_of, unpack = tools.double_bytes, tools.bytes_double, tools.real_of, tools.unpack

local NESTING_MAX = 16
local MISSING = {}
local BAD = {}

-- Big-endian, `size` bytes, of a non-negative integer.
local function big_endian(number, size)
  if size == 1 then return char(number) end
  if size == 2 then return char(floor(number / 256), number % 256) end
  if size == 4 then
    return char(floor(number / 16777216), floor(number / 65536) % 256, floor(number / 256) % 256, number % 256)
  end
  return big_endian(floor(number / 4294967296), 4) .. big_endian(number % 4294967296, 4)
end

local function pack_integer(number)
  if number >= 0 then
    if number <= 127 then return char(number) end
    if number <= 0xff then return "\204" .. char(number) end
    if number <= 0xffff then return "\205" .. big_endian(number, 2) end
    if number <= 0xffffffff then return "\206" .. big_endian(number, 4) end
    return "\207" .. big_endian(number, 8)
  end
  if number >= -32 then return char(256 + number) end
  if number >= -128 then return "\208" .. char(256 + number) end
  if number >= -32768 then return "\209" .. big_endian(65536 + number, 2) end
  if number >= -2147483648 then return "\210" .. big_endian(4294967296 + number, 4) end
  local high = floor(number / 4294967296)
  return "\211" .. big_endian(4294967296 + high, 4) .. big_endian(number - high * 4294967296, 4)
end

local function pack_number(number)
  if floor(number) == number and number >= -9223372036854775808 and number < 9223372036854775808 then
    return pack_integer(number)
  end
  return double_bytes(number)
end

local function pack_string(text)
  local size = #text
  if size < 32 then return char(0xa0 + size) .. text end
  if size <= 0xff then return "\217" .. char(size) .. text end
  if size <= 0xffff then return "\218" .. big_endian(size, 2) .. text end
  return "\219" .. big_endian(size, 4) .. text
end

local function header(count, fix, short, long)
  if count <= 15 then return char(fix + count) end
  if count <= 0xffff then return short .. big_endian(count, 2) end
  return long .. big_endian(count, 4)
end

local function is_array(list)
  local count, highest = 0, 0
  for key in next, list do
    if type(key) ~= "number" or key <= 0 or floor(key) ~= key or key > 2147483647 then return false end
    if key > highest then highest = key end
    count = count + 1
  end
  return highest == count
end

local pack

local function pack_table(value, out, level)
  value = real_of[value] or value
  if is_array(value) then
    local count = #value
    out[#out + 1] = header(count, 0x90, "\220", "\221")
    for i = 1, count do pack(value[i], out, level + 1) end
    return
  end
  local count = 0
  for _ in next, value do count = count + 1 end
  out[#out + 1] = header(count, 0x80, "\222", "\223")
  for key, item in next, value do
    pack(key, out, level + 1)
    pack(item, out, level + 1)
  end
end

pack = function(value, out, level)
  local kind = type(value)
  if kind == "string" then out[#out + 1] = pack_string(value)
  elseif kind == "number" then out[#out + 1] = pack_number(value)
  elseif kind == "boolean" then out[#out + 1] = value and "\195" or "\194"
  elseif kind == "table" and level < NESTING_MAX then pack_table(value, out, level)
  else out[#out + 1] = "\192" end
end

local text, at

local function need(size)
  if at + size - 1 > #text then error(MISSING) end
end

local function unsigned(size)
  need(size)
  local number = 0
  for i = at, at + size - 1 do number = number * 256 + byte(text, i) end
  at = at + size
  return number
end

local function signed(size)
  need(size)
  local negative = byte(text, at) >= 128
  if not negative then return unsigned(size) end
  if size == 8 then
    local high, low = unsigned(4) - 4294967296, unsigned(4)
    return high * 4294967296 + low
  end
  return unsigned(size) - 256 ^ size
end

local function take(size)
  need(size)
  local taken = sub(text, at, at + size - 1)
  at = at + size
  return taken
end

local unpack_one

local function unpack_array(count)
  local list = {}
  for i = 1, count do list[i] = unpack_one() end
  return list
end

local function unpack_map(count)
  local map = {}
  for _ = 1, count do
    local key = unpack_one()
    local value = unpack_one()
    if key == nil or key ~= key then error(BAD) end
    map[key] = value
  end
  return map
end

local readers = {
  [0xc0] = function() return nil end,
  [0xc2] = function() return false end,
  [0xc3] = function() return true end,
  [0xca] = function() return bytes_double(take(4)) end,
  [0xcb] = function() return bytes_double(take(8)) end,
  [0xcc] = function() return unsigned(1) end,
  [0xcd] = function() return unsigned(2) end,
  [0xce] = function() return unsigned(4) end,
  [0xcf] = function() return unsigned(8) end,
  [0xd0] = function() return signed(1) end,
  [0xd1] = function() return signed(2) end,
  [0xd2] = function() return signed(4) end,
  [0xd3] = function() return signed(8) end,
  [0xd9] = function() return take(unsigned(1)) end,
  [0xda] = function() return take(unsigned(2)) end,
  [0xdb] = function() return take(unsigned(4)) end,
  [0xdc] = function() return unpack_array(unsigned(2)) end,
  [0xdd] = function() return unpack_array(unsigned(4)) end,
  [0xde] = function() return unpack_map(unsigned(2)) end,
  [0xdf] = function() return unpack_map(unsigned(4)) end,
}

unpack_one = function()
  need(1)
  local code = byte(text, at)
  at = at + 1
  if code < 0x80 then return code end
  if code >= 0xe0 then return code - 256 end
  if code < 0x90 then return unpack_map(code - 0x80) end
  if code < 0xa0 then return unpack_array(code - 0x90) end
  if code < 0xc0 then return take(code - 0xa0) end
  local reader = readers[code]
  if not reader then error(BAD) end
  return reader()
end

local function unpack_values(given, limit, offset, one_or_limited)
  if type(given) == "number" then given = tostring(given) end
  if type(given) ~= "string" then
    fail("bad argument #1 to 'unpack' (string expected, got " .. (given == nil and "no value" or type(given)) .. ")")
  end
  if offset < 0 or limit < 0 then
    fail("Invalid request to unpack with offset of " .. offset .. " and limit of " .. #given .. ".")
  end
  if offset > #given then fail("Start offset " .. offset .. " greater than input length " .. #given .. ".") end
  text, at = given, offset + 1
  local values, count = {}, 0
  local all = limit == 0
  while at <= #text and (all or count < limit) do
    count = count + 1
    if count > 7900 then fail("too many return values at once; use unpack_one or unpack_limit instead.") end
    local ok, value = tools.pcall(unpack_one)
    if not ok then
      text = nil
      if value == MISSING then fail("Missing bytes in input.") end
      if value == BAD then fail("Bad data format in input.") end
      error(value, 0)
    end
    values[count] = value
  end
  local left = at <= #text and at - 1 or -1
  text = nil
  if one_or_limited and not all then return left, unpack(values, 1, count) end
  return unpack(values, 1, count)
end

local function integer(value, default, name, position)
  if value == nil then return default end
  local number = tonumber(value)
  if not number then
    fail("bad argument #" .. position .. " to '" .. name .. "' (number expected, got " .. type(value) .. ")")
  end
  return number >= 0 and floor(number) or -floor(-number)
end

return {
  _NAME = "cmsgpack", _VERSION = "lua-cmsgpack 0.4.0",
  _COPYRIGHT = "Copyright (C) 2012, Salvatore Sanfilippo", _DESCRIPTION = "MessagePack C implementation for Lua",
  pack = function(...)
    local count = select("#", ...)
    if count == 0 then fail("bad argument #0 to 'pack' (MessagePack pack needs input.)") end
    local out = {}
    for i = 1, count do pack((select(i, ...)), out, 0) end
    return concat(out)
  end,
  unpack = function(given) return unpack_values(given, 0, 0, false) end,
  unpack_one = function(given, offset)
    return unpack_values(given, 1, integer(offset, 0, "unpack_one", 2), true)
  end,
  unpack_limit = function(given, limit, offset)
    return unpack_values(given, integer(limit, 0, "unpack_limit", 2), integer(offset, 0, "unpack_limit", 3), true)
  end,
}
