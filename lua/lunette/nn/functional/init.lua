--- nn.functional, F: layers and losses as functions, one file a family. Each checks its arguments, fills in defaults and calls operators.
---
--- Names, order and defaults are those of torch.nn.functional. Nothing here keeps a state. Where a function is an operator as it stands, F has the
--- operator itself.

local arguments = require("lunette.arguments")
local define = require("lunette.define")

local F = {}

for _, family in ipairs({"activation", "linear", "conv", "pooling", "padding", "resize", "grid", "normalization", "dropout", "embedding", "loss",
  "attention"}) do
  require("lunette.nn.functional." .. family)(F, define.into(F, "F"))
end

return arguments.strict(F, "F")
