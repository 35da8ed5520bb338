--- Tensors that outlive the lt.scope they were made in: parameters, buffers, the state of optimizers.

local base = require("lunette.ffi")
local ffi = require("ffi")

local scope = base.scope
local owned = setmetatable({}, {__mode = "k"})

--- The tensor itself, which from now on belongs to its handle and not only to the scope.
return function(t)
  if scope.depth == 0 or type(t) ~= "cdata" or owned[t] then return t end
  local p = base.pointer(t)
  if p.scope_slot < 0 then return t end
  owned[t] = true
  base.C.ln_tensor_retain(p)
  return ffi.gc(t, base.C.ln_handle_release)
end
