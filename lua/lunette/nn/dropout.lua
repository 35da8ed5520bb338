--- Dropout.

local each = require("lunette.each")
local declare = require("lunette.nn.declare")

local dropout = {}

local functions = {
  Dropout = "dropout", Dropout1d = "dropout1d", Dropout2d = "dropout2d", Dropout3d = "dropout3d", AlphaDropout = "alpha_dropout",
  FeatureAlphaDropout = "feature_alpha_dropout",
}
for name, of in each(functions) do dropout[name] = declare(name, {of = of, takes = "p, inplace", text = "p inplace"}) end

return dropout
