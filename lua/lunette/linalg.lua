--- lt.linalg: linear algebra. Most members are operators, whose rows stand in the table (lib/ops.def) under names with a dot: linalg.qr.
--
-- Matrices are factorised on the host, by LAPACK: those of another device are brought there, and what comes of them is brought back.

local each = require("lunette.each")
local arguments = require("lunette.arguments")
local lazily = require("lunette.lazily")
local ops = require("lunette.ops")

local linalg = {}
lazily.from("lunette.norms", linalg, "vector_norm matrix_norm norm multi_dot lstsq")

-- All names in order.
local function names()
  local list, own = ops.names("linalg"), {}
  for name in each(linalg) do own[name] = true end
  for _, name in ipairs(list) do own[name] = nil end
  for name in each(own) do list[#list + 1] = name end
  table.sort(list)
  return list
end

return setmetatable(linalg, {
  __package = "lt.linalg",
  __names = names,
  __index = function(_, name)
    local fn = type(name) == "string" and ops.public("linalg." .. name)
    if not fn then arguments.fail(("lt.linalg has no '%s'%s"):format(tostring(name), arguments.hint(name, names()))) end
    linalg[name] = fn
    return fn
  end,
})
