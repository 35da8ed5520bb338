--- nn.Parameter and nn.Buffer: tensors that register themselves when they become a field of a module.

local base = require("lunette.ffi")
local class = require("lunette.class")
local internals = require("lunette.nn.internals")
local bit = require("bit")

local C, bor, tonumber = base.C, bit.bor, tonumber
local PARAMETER, BUFFER, TRANSIENT = tonumber(C.LN_PARAMETER), tonumber(C.LN_BUFFER), tonumber(C.LN_TRANSIENT)

local Parameter = class.define("nn.Parameter", {
  doc = "A tensor that becomes a parameter of the module to whose field it is assigned; it shares the elements of `data` and has no history.",
  takes = "data:tensor, requires_grad:bool=true",
  example = "> m = nn.Module()\n> m.scale = nn.Parameter(lt.ones(2))\n> #m:parameters(), m.scale.requires_grad\n1\ntrue",
})

function Parameter.__new(_, ...)
  local data, requires_grad = Parameter.__parse(...)
  local p = data:detach()
  p._p.flags = bor(p._p.flags, PARAMETER)
  base.check(C.ln_tensor_set_requires_grad(p._p, requires_grad))
  return p
end

Parameter.__is = internals.is_parameter

local Buffer = class.define("nn.Buffer", {
  doc = "A tensor that becomes a buffer of the module to whose field it is assigned; it shares the elements of `data`; persistent = false leaves it out of state "
    .. "dicts.",
  takes = "data:tensor, *, persistent:bool=true",
  example = "> m = nn.Module()\n> m.steps = nn.Buffer(lt.zeros(2), {persistent = false})\n> #m:buffers(), lt.len(m:state_dict())\n1\n0",
})

function Buffer.__new(_, ...)
  local data, persistent = Buffer.__parse(...)
  local b = data:detach()
  b._p.flags = bor(b._p.flags, BUFFER, persistent and 0 or TRANSIENT)
  return b
end

Buffer.__is = internals.is_buffer

return {Parameter = Parameter, Buffer = Buffer}
