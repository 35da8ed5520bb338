--- Dropout.

local declare = require("lunette.nn.declare")

local dropout = {}

dropout.Dropout = declare("Dropout", {of = "dropout", takes = "p, inplace", text = "p inplace"})

return dropout
