--- Flatten.

local declare = require("lunette.nn.declare")

local flatten = {}

flatten.Flatten = declare("Flatten", {
  example = "> nn.Flatten()(lt.randn(32, 1, 5, 5)).shape\n{32, 25}",
  of = "flatten",
  doc = "The dimensions from start_dim to end_dim as one; the batch stays by default.",
  takes = "start_dim=1, end_dim",
  text = "start_dim end_dim",
})

return flatten
