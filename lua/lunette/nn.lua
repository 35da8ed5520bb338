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
lazily.defined("lunette.nn.hooks", nn.Module, "register_forward_pre_hook register_forward_hook register_backward_hook register_full_backward_hook "
  .. "register_full_backward_pre_hook register_state_dict_pre_hook register_state_dict_post_hook register_load_state_dict_pre_hook "
  .. "register_load_state_dict_post_hook")
lazily.from("lunette.nn.hooks", nn, "register_module_forward_pre_hook register_module_forward_hook register_module_full_backward_hook "
  .. "register_module_backward_hook register_module_full_backward_pre_hook register_module_parameter_registration_hook "
  .. "register_module_buffer_registration_hook register_module_module_registration_hook")
lazily.defined("lunette.nn.state", nn.Module, "state_dict load_state_dict _load_from_state_dict _save_to_state_dict")
lazily.defined("lunette.nn.summary", nn.Module, "summary")
lazily.defined("lunette.nn.convert", nn.Module, "float double half bfloat16 type cpu cuda to to_empty")
require("lunette.nn.path")
take(require("lunette.nn.parameter"))
nn.functional = require("lunette.nn.functional")

for _, family in ipairs({"container", "linear", "conv", "pooling", "padding", "resize", "normalization", "dropout", "activation", "adaptive", "flatten",
  "embedding", "loss", "recurrent", "attention", "transformer", "lazy"}) do
  take(require("lunette.nn." .. family))
end

return arguments.strict(nn, "nn", {
  init = "lunette.nn.init", utils = "lunette.nn.utils", parallel = "lunette.nn.parallel", DataParallel = "lunette.nn.parallel.layer",
  modules = "lunette.nn.modules",
})
