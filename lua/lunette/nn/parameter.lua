--- nn.Parameter: a tensor that registers itself when it becomes a field of a module.

local arguments = require("lunette.arguments")
local base = require("lunette.ffi")
local class = require("lunette.nn.class")
local bit = require("bit")

local parse = arguments.signature("Parameter", "data:tensor, requires_grad:bool=true")
local LN_PARAMETER = 4

local Parameter = {__name = "Parameter"}

-- The parameter shares the elements of `data` and has no history.
local function construct(_, ...)
  local data, requires_grad = parse(...)
  local p = data:detach()
  p._p.flags = bit.bor(p._p.flags, LN_PARAMETER)
  base.check(base.C.ln_tensor_set_requires_grad(p._p, requires_grad))
  return p
end

--- Is `x` an nn.Parameter?
Parameter.is = class.is_parameter

return setmetatable(Parameter, {__call = construct, __tostring = function() return "class Parameter" end})
