--- nn.utils: what works on modules and their inputs, one file a family.

local arguments = require("lunette.arguments")

local utils = {rnn = require("lunette.nn.utils.rnn")}

return arguments.strict(utils, "nn.utils")
