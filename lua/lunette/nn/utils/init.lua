--- nn.utils: what works on modules, their parameters and their inputs, one file a family.

local arguments = require("lunette.arguments")
local each = require("lunette.each")

local lazily = require("lunette.lazily")

local utils = {}

for name, fn in each(require("lunette.nn.utils.gradients")) do utils[name] = fn end
lazily.from("lunette.nn.utils.fusion", utils,
  "fuse_conv_bn_eval fuse_conv_bn_weights fuse_linear_bn_eval fuse_linear_bn_weights skip_init")
lazily.from("lunette.nn.utils.prefix", utils, "consume_prefix_in_state_dict_if_present")
lazily.from("lunette.nn.utils.weight_norm", utils, "weight_norm remove_weight_norm")
lazily.from("lunette.nn.utils.spectral_norm", utils, "spectral_norm remove_spectral_norm")

return arguments.strict(utils, "nn.utils", {
  hooks = "lunette.nn.utils.hooks", rnn = "lunette.nn.utils.rnn", prune = "lunette.nn.utils.prune", stateless = "lunette.nn.utils.stateless",
  parametrize = "lunette.nn.utils.parametrize", parametrizations = "lunette.nn.utils.parametrizations",
})
