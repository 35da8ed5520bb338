--- Requires integer labels and ids; the error suggests a conversion.

local arguments = require("lunette.arguments")
local base = require("lunette.ffi")

-- The header is read directly: this is the path of every training step.
local INT64 = tonumber(base.C.LN_INT64)

--- `t` as int64; floats and bools are refused. owner and what name it in the error.
return function(owner, what, t)
  if t._p.dtype == INT64 then return t end
  if t.dtype:find("float", 1, true) or t.dtype == "bool" then
    arguments.fail(("%s: %s must be int64, not %s; make them with lt.LongTensor{...} or convert with :to(\"int64\")"):format(owner, what, t.dtype))
  end
  return t:to("int64")
end
