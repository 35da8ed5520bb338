--- Flatten, Unflatten.

local declare = require("lunette.nn.declare")

local flatten = {}

flatten.Flatten = declare("Flatten", {
  example = "> nn.Flatten()(lt.randn(32, 1, 5, 5)).shape\n{32, 25}",
  of = "flatten",
  doc = "The dimensions from start_dim to end_dim as one; the batch stays by default.",
  takes = "start_dim=1, end_dim",
  text = "start_dim end_dim",
})

flatten.Unflatten = declare("Unflatten", {
  example = "> nn.Unflatten(1, {2, 5, 5})(lt.randn(2, 50)).shape\n{2, 2, 5, 5}",
  doc = "Dimension dim as several of the given sizes, one of which may be -1.",
  takes = "dim:int, unflattened_size:size>=-1",
  text = "dim unflattened_size",
})

function flatten.Unflatten:forward(input) return (input:unflatten(self.dim, self.unflattened_size)) end

return flatten
