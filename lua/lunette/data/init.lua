--- data: datasets and the loader that makes batches of them.

local arguments = require("lunette.arguments")
local dataset = require("lunette.data.dataset")
local loader = require("lunette.data.loader")

local data = {
  Dataset = dataset.Dataset,
  TensorDataset = dataset.TensorDataset,
  Subset = dataset.Subset,
  random_split = dataset.random_split,
  DataLoader = loader.DataLoader,
  default_collate = loader.default_collate,
}

return arguments.strict(data, "data")
