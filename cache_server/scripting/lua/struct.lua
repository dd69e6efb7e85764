-- struct 0.2 as Redis carries it: binary strings from and to numbers and strings.
-- http://www.inf.puc-rio.br/~roberto/struct/ ; the formats are read on the host's side.

local tools = ...
local struct_pack, struct_unpack, struct_size, fail = tools.struct_pack, tools.struct_unpack, tools.struct_size, tools.fail

local function checked(ok, ...)
  if not ok then fail((...)) end
  return ...
end

return {
  pack = function(...) return (checked(struct_pack(...))) end,
  unpack = function(...) return checked(struct_unpack(...)) end,
  size = function(...) return (checked(struct_size(...))) end,
}
