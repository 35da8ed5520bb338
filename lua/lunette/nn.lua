--- nn: modules, parameters, losses. `nn.functional` is F, `nn.init` fills tensors with starting values.
---
--- A name that does not exist is an error that shows the nearest one.

local each = require("lunette.each")
local arguments = require("lunette.arguments")

local nn = {}

local function take(source)
  for name, value in each(source) do rawset(nn, name, value) end
end

nn.Module = require("lunette.nn.module")
require("lunette.nn.hooks")
require("lunette.nn.state")
require("lunette.nn.path")
nn.Parameter = require("lunette.nn.parameter")
nn.functional = require("lunette.nn.functional")
nn.init = require("lunette.nn.init")
nn.utils = require("lunette.nn.utils")

for _, family in ipairs({"container", "linear", "conv", "pooling", "normalization", "dropout", "activation", "flatten", "embedding", "loss",
  "recurrent"}) do
  take(require("lunette.nn." .. family))
end

return arguments.strict(nn, "nn")
