-- BitOp 1.0.2 as Redis carries it: operations on numbers taken as 32 bits, results signed.
-- http://bitop.luajit.org/ ; the bits are turned on the host's side.

local tools = ...
local operate, fail, tonumber, type, select = tools.bit_operation, tools.fail, tools.tonumber, tools.type, tools.select

local function operation(name, fixed)
  return function(...)
    local count = select("#", ...)
    if fixed and count > fixed then count = fixed end
    for i = 1, (count > (fixed or 1) and count or (fixed or 1)) do
      local value = (select(i, ...))
      if not tonumber(value) then
        local got = i > select("#", ...) and "no value" or type(value)
        fail("bad argument #" .. i .. " to '" .. name .. "' (number expected, got " .. got .. ")")
      end
    end
    return operate(name, ...)
  end
end

return {
  tobit = operation("tobit", 1), bnot = operation("bnot", 1), band = operation("band"), bor = operation("bor"),
  bxor = operation("bxor"), lshift = operation("lshift", 2), rshift = operation("rshift", 2),
  arshift = operation("arshift", 2), rol = operation("rol", 2), ror = operation("ror", 2),
  bswap = operation("bswap", 1), tohex = operation("tohex"),
}
