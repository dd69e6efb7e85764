-- cjson 2.1 as Redis carries it: the same options, defaults, limits and error texts.
-- https://www.kyne.com.au/~mark/software/lua-cjson-manual.html

local tools = ...
local string, type, fail, next, rawget, tostring, tonumber, select =
  tools.string, tools.type, tools.fail, tools.next, tools.rawget, tools.tostring, tools.tonumber, tools.select
local byte, char, sub, find, gsub, format = string.byte, string.char, string.sub, string.find, string.gsub, string.format
local match, lower, concat, floor = string.match, string.lower, tools.table.concat, tools.math.floor
local newproxy, real_of = tools.newproxy, tools.real_of

local null = newproxy(false)  -- a value of its own: nil would leave a hole
local INT_MAX = 2147483647

local escapes = {}
for code = 0, 31 do escapes[char(code)] = format("\\u%04x", code) end
escapes["\b"], escapes["\t"], escapes["\n"], escapes["\f"], escapes["\r"] = "\\b", "\\t", "\\n", "\\f", "\\r"
escapes['"'], escapes["\\"], escapes["/"], escapes["\127"] = '\\"', "\\\\", "\\/", "\\u007f"

local unescapes = {b = "\b", t = "\t", n = "\n", f = "\f", r = "\r", ['"'] = '"', ["\\"] = "\\", ["/"] = "/"}

local TOKEN_NAMES = {
  ["{"] = "T_OBJ_BEGIN", ["}"] = "T_OBJ_END", ["["] = "T_ARR_BEGIN", ["]"] = "T_ARR_END",
  [","] = "T_COMMA", [":"] = "T_COLON", string = "T_STRING", number = "T_NUMBER", boolean = "T_BOOLEAN",
  null = "T_NULL", the_end = "T_END",
}

local new

local function encoder(config)
  local append

  local function cannot(value, reason)
    fail("Cannot serialise " .. type(value) .. ": " .. reason)
  end

  local function number_text(number)
    if number ~= number or number == 1 / 0 or number == -1 / 0 then
      if config.encode_invalid_numbers == "off" then cannot(number, "must not be NaN or Inf") end
      if config.encode_invalid_numbers == "null" then return "null" end
      if number ~= number then return "nan" end
      return number > 0 and "inf" or "-inf"
    end
    return format(config.number_format, number)
  end

  local function quoted(text)
    if find(text, '[%c"\\/\127]') then text = gsub(text, '[%z\1-\31"\\/\127]', escapes) end
    return '"' .. text .. '"'
  end

  -- -1 for an object, else the highest index.
  local function array_length(list)
    local highest, items = 0, 0
    for key in next, list do
      if type(key) ~= "number" or floor(key) ~= key or key < 1 then return -1 end
      if key > highest then highest = key end
      items = items + 1
    end
    local ratio = config.sparse_ratio
    if ratio > 0 and highest > items * ratio and highest > config.sparse_safe then
      if not config.sparse_convert then cannot(list, "excessively sparse array") end
      return -1
    end
    return highest
  end

  local function append_object(object, out, depth)
    local n = #out + 1
    out[n] = "{"
    local first = true
    for key, value in next, object do
      local kind = type(key)
      local name
      if kind == "number" then name = '"' .. number_text(key) .. '":'
      elseif kind == "string" then name = quoted(key) .. ":"
      else cannot(key, "table key must be a number or string") end
      n = #out + 1
      out[n] = first and name or "," .. name
      first = false
      append(value, out, depth)
    end
    out[#out + 1] = "}"
  end

  append = function(value, out, depth)
    local kind = type(value)
    if kind == "string" then out[#out + 1] = quoted(value)
    elseif kind == "number" then out[#out + 1] = number_text(value)
    elseif kind == "boolean" then out[#out + 1] = value and "true" or "false"
    elseif kind == "nil" or value == null then out[#out + 1] = "null"
    elseif kind == "table" then
      depth = depth + 1
      if depth > config.encode_depth then fail("Cannot serialise, excessive nesting (" .. depth .. ")") end
      value = real_of[value] or value
      local length = array_length(value)
      if length > 0 then
        out[#out + 1] = "["
        for i = 1, length do
          if i > 1 then out[#out + 1] = "," end
          append(rawget(value, i), out, depth)
        end
        out[#out + 1] = "]"
      else
        append_object(value, out, depth)
      end
    else
      cannot(value, "type not supported")
    end
  end

  return function(...)
    if select("#", ...) ~= 1 then fail("bad argument #1 to 'encode' (expected 1 argument)") end
    local out = {}
    append((...), out, 0)
    return concat(out)
  end
end

local function utf8(code)
  if code < 0x80 then return char(code) end
  if code < 0x800 then return char(0xC0 + floor(code / 64), 0x80 + code % 64) end
  if code < 0x10000 then return char(0xE0 + floor(code / 4096), 0x80 + floor(code / 64) % 64, 0x80 + code % 64) end
  return char(0xF0 + floor(code / 262144), 0x80 + floor(code / 4096) % 64, 0x80 + floor(code / 64) % 64, 0x80 + code % 64)
end

local function decoder(config)
  local text, at, start, depth, value

  -- A lexical error: its text as a token's name.
  local function bad(reason, where)
    at = where or at
    start = at
    value = reason
    return "error"
  end

  local function unescaped(raw, from)
    local out, place = {}, 1
    while true do
      local slash = find(raw, "\\", place, true)
      if not slash then
        out[#out + 1] = sub(raw, place)
        return concat(out)
      end
      out[#out + 1] = sub(raw, place, slash - 1)
      local letter = sub(raw, slash + 1, slash + 1)
      if letter == "u" then
        local hex = match(raw, "^%x%x%x%x", slash + 2)
        local code = hex and tonumber(hex, 16)
        place = slash + 6
        if code and code >= 0xD800 and code <= 0xDFFF then
          local low = code < 0xDC00 and match(raw, "^\\u(%x%x%x%x)", place)
          low = low and tonumber(low, 16)
          if low and low >= 0xDC00 and low <= 0xDFFF then
            code = 0x10000 + (code - 0xD800) * 0x400 + (low - 0xDC00)
            place = place + 6
          else
            code = nil
          end
        end
        if not code then return nil, "invalid unicode escape code", from + slash - 1 end
        out[#out + 1] = utf8(code)
      else
        local plain = unescapes[letter]
        if not plain then return nil, "invalid escape code", from + slash - 1 end
        out[#out + 1] = plain
        place = slash + 2
      end
    end
  end

  local function string_token()
    local from = at + 1
    local to, scan = nil, from
    while true do
      to = find(text, '["\\%z]', scan)
      if not to then return bad("unexpected end of string", #text + 1) end
      local found = byte(text, to)
      if found == 34 then break end
      if found == 0 then return bad("unexpected end of string", to) end
      scan = to + 2
    end
    value = sub(text, from, to - 1)
    if find(value, "\\", 1, true) then
      local plain, reason, where = unescaped(value, from)
      if not plain then return bad(reason, where) end
      value = plain
    end
    at = to + 1
    return "string"
  end

  local function number_token()
    local where = at
    local word = match(text, "^-?0[xX]%x+", where)
    if word and config.decode_invalid_numbers then
      value = word:sub(1, 1) == "-" and -tonumber(word:sub(2)) or tonumber(word)
      at = where + #word
      return "number"
    end
    if word or (not config.decode_invalid_numbers and find(text, "^-?0%d", where)) then return bad("invalid number") end
    word = match(text, "^[+-]?%d+%.?%d*[eE][+-]?%d+", where) or match(text, "^[+-]?%.?%d+[eE][+-]?%d+", where)
      or match(text, "^[+-]?%d+%.?%d*", where) or match(text, "^[+-]?%.%d+", where)
    if not word then
      local name = lower(match(text, "^[+-]?%a*", where) or "")
      local sign = sub(name, 1, 1) == "-" and -1 or 1
      name = gsub(name, "^[+-]", "")
      if config.decode_invalid_numbers then
        local length = 0
        if sub(name, 1, 8) == "infinity" then length = 8 elseif sub(name, 1, 3) == "inf" or sub(name, 1, 3) == "nan" then length = 3 end
        if length > 0 then
          value = sub(name, 1, 3) == "nan" and 0 / 0 or sign / 0
          at = where + length + (find(text, "^[+-]", where) and 1 or 0)
          return "number"
        end
      end
      return bad("invalid number")
    end
    value = tonumber((gsub(word, "^+", "")))
    at = where + #word
    return "number"
  end

  local function next_token()
    at = find(text, "[^ \t\n\r]", at) or #text + 1
    start = at
    local first = sub(text, at, at)
    if first == "" or first == "\0" then return "the_end" end
    if first == '"' then return string_token() end
    if TOKEN_NAMES[first] then at = at + 1 return first end
    if find(first, "[%-%d]") then return number_token() end
    if sub(text, at, at + 3) == "true" then at, value = at + 4, true return "boolean" end
    if sub(text, at, at + 4) == "false" then at, value = at + 5, false return "boolean" end
    if sub(text, at, at + 3) == "null" then at, value = at + 4, null return "null" end
    if config.decode_invalid_numbers and find(text, "^[+iInN]", at) then
      local word = lower(sub(text, at, at + 3))
      if sub(word, 1, 3) == "inf" or sub(word, 1, 3) == "nan" or (sub(word, 1, 1) == "+" and find(text, "^%+[%diInN]", at)) then
        return number_token()
      end
    end
    return bad("invalid token")
  end

  local function unexpected(wanted, token)
    local found = token == "error" and value or TOKEN_NAMES[token]
    fail("Expected " .. wanted .. " but found " .. found .. " at character " .. start)
  end

  local parse

  local function descend()
    depth = depth + 1
    if depth > config.decode_depth then
      fail("Found too many nested data structures (" .. depth .. ") at character " .. (at - 1))
    end
  end

  local function parse_object()
    descend()
    local object = {}
    local token = next_token()
    while token ~= "}" do
      if token ~= "string" then unexpected("object key string", token) end
      local key = value
      token = next_token()
      if token ~= ":" then unexpected("colon", token) end
      object[key] = parse(next_token())
      token = next_token()
      if token == "," then
        token = next_token()
        if token == "}" then unexpected("object key string", token) end
      elseif token ~= "}" then
        unexpected("comma or object end", token)
      end
    end
    depth = depth - 1
    return object
  end

  local function parse_array()
    descend()
    local list = {}
    local token = next_token()
    local i = 1
    while token ~= "]" do
      list[i] = parse(token)
      i = i + 1
      token = next_token()
      if token == "," then
        token = next_token()
        if token == "]" then unexpected("value", token) end
      elseif token ~= "]" then
        unexpected("comma or array end", token)
      end
    end
    depth = depth - 1
    return list
  end

  parse = function(token)
    if token == "{" then return parse_object() end
    if token == "[" then return parse_array() end
    if token == "string" or token == "number" or token == "boolean" or token == "null" then return value end
    return unexpected("value", token)
  end

  return function(...)
    if select("#", ...) ~= 1 then fail("bad argument #1 to 'decode' (expected 1 argument)") end
    local given = (...)
    if type(given) == "number" then given = tostring(given) end
    if type(given) ~= "string" then
      fail("bad argument #1 to 'decode' (string expected, got " .. type(given) .. ")")
    end
    if #given >= 2 and find(sub(given, 1, 2), "%z") then fail("JSON parser does not support UTF-16 or UTF-32") end
    text, at, depth = given, 1, 0
    local result = parse(next_token())
    local token = next_token()
    if token ~= "the_end" then unexpected("the end", token) end
    text = nil
    return result
  end
end

local function check_count(name, allowed, ...)
  if select("#", ...) > allowed then
    fail("bad argument #" .. (allowed + 1) .. " to '" .. name .. "' (found too many arguments)")
  end
end

local function integer_option(config, field, given, name, position, low, high)
  if given ~= nil then
    local number = tonumber(given)
    if not number then
      fail("bad argument #" .. position .. " to '" .. name .. "' (number expected, got " .. type(given) .. ")")
    end
    number = number >= 0 and floor(number) or -floor(-number)
    if number < low or number > high then
      fail("bad argument #1 to '" .. name .. "' (expected integer between " .. low .. " and " .. high .. ")")
    end
    config[field] = number
  end
  return config[field]
end

local function flag_option(config, field, given, name)
  if given ~= nil then
    if type(given) == "boolean" then config[field] = given
    elseif given == "on" then config[field] = true
    elseif given == "off" then config[field] = false
    else
      fail("bad argument #1 to '" .. name .. "' (invalid option '" .. tostring(given) .. "')")
    end
  end
  return config[field]
end

new = function()
  local config = {
    sparse_convert = false, sparse_ratio = 2, sparse_safe = 10, encode_depth = 1000, decode_depth = 1000,
    encode_invalid_numbers = "off", decode_invalid_numbers = true, keep_buffer = true, precision = 14,
    number_format = "%.14g",
  }
  local cjson = {null = null, _NAME = "cjson", _VERSION = "2.1.0", new = new}
  cjson.encode, cjson.decode = encoder(config), decoder(config)
  function cjson.encode_sparse_array(...)
    check_count("encode_sparse_array", 3, ...)
    local convert, ratio, safe = ...
    flag_option(config, "sparse_convert", convert, "encode_sparse_array")
    integer_option(config, "sparse_ratio", ratio, "encode_sparse_array", 2, 0, INT_MAX)
    integer_option(config, "sparse_safe", safe, "encode_sparse_array", 3, 0, INT_MAX)
    return config.sparse_convert, config.sparse_ratio, config.sparse_safe
  end
  function cjson.encode_max_depth(...)
    check_count("encode_max_depth", 1, ...)
    return (integer_option(config, "encode_depth", (...), "encode_max_depth", 1, 1, INT_MAX))
  end
  function cjson.decode_max_depth(...)
    check_count("decode_max_depth", 1, ...)
    return (integer_option(config, "decode_depth", (...), "decode_max_depth", 1, 1, INT_MAX))
  end
  function cjson.encode_number_precision(...)
    check_count("encode_number_precision", 1, ...)
    local precision = integer_option(config, "precision", (...), "encode_number_precision", 1, 1, 14)
    config.number_format = "%." .. precision .. "g"
    return precision
  end
  function cjson.encode_keep_buffer(...)
    check_count("encode_keep_buffer", 1, ...)
    return (flag_option(config, "keep_buffer", (...), "encode_keep_buffer"))
  end
  function cjson.encode_invalid_numbers(...)
    check_count("encode_invalid_numbers", 1, ...)
    local given = (...)
    if given == "null" then
      config.encode_invalid_numbers = "null"
    elseif given ~= nil then
      local choice = {}
      flag_option(choice, "on", given, "encode_invalid_numbers")
      config.encode_invalid_numbers = choice.on and "on" or "off"
    end
    if config.encode_invalid_numbers == "null" then return "null" end
    return config.encode_invalid_numbers == "on"
  end
  function cjson.decode_invalid_numbers(...)
    check_count("decode_invalid_numbers", 1, ...)
    return (flag_option(config, "decode_invalid_numbers", (...), "decode_invalid_numbers"))
  end
  return cjson
end

return new()
