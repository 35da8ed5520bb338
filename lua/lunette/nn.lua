--- nn: modules, parameters, losses. `nn.functional` is F, `nn.init` fills tensors with starting values.
---
--- A name that does not exist is an error that shows the nearest one.

local each = require("lunette.each")
local arguments = require("lunette.arguments")
local lazily = require("lunette.lazily")

local nn = {}

local function take(source)
  for name, value in each(source) do rawset(nn, name, value) end
end

nn.Module = require("lunette.nn.module")
lazily.defined("lunette.nn.hooks", nn.Module, "register_forward_pre_hook register_forward_hook register_backward_hook register_full_backward_hook")
lazily.defined("lunette.nn.state", nn.Module, "state_dict load_state_dict _load_from_state_dict")
require("lunette.nn.path")
nn.Parameter = require("lunette.nn.parameter")
nn.functional = require("lunette.nn.functional")

for _, family in ipairs({"container", "linear", "conv", "pooling", "padding", "resize", "normalization", "dropout", "activation", "adaptive", "flatten",
  "embedding", "loss", "recurrent", "attention", "transformer"}) do
  take(require("lunette.nn." .. family))
end

return arguments.strict(nn, "nn", {init = "lunette.nn.init", utils = "lunette.nn.utils"})
