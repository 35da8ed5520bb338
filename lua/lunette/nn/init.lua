--- nn: modules, parameters, losses. `nn.functional` is F, `nn.init` fills tensors with starting values.
---
--- A name that does not exist is an error that shows the nearest one.

local arguments = require("lunette.arguments")

local nn = {}

local function take(source)
  for name, value in pairs(source) do rawset(nn, name, value) end
end

nn.Module = require("lunette.nn.module")
require("lunette.nn.hooks")
require("lunette.nn.state")
nn.Parameter = require("lunette.nn.parameter")
nn.functional = require("lunette.nn.functional")
nn.init = require("lunette.nn.initialise")

for _, file in ipairs({"container", "linear", "conv", "pooling", "normalization", "dropout", "activation", "flatten", "sparse", "loss"}) do
  take(require("lunette.nn." .. file))
end

arguments.strict(nn.functional, "F")
arguments.strict(nn.init, "nn.init")

return arguments.strict(nn, "nn")
