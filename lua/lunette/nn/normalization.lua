--- Normalisation: BatchNorm1d, BatchNorm2d, BatchNorm3d.

local arguments = require("lunette.arguments")
local declare = require("lunette.nn.declare")
local F = require("lunette.nn.functional")

local Layer, fail = declare.Layer, arguments.fail

local normalization = {}

-- What batch norm over any number of dimensions shares: statistics over all dimensions but 1.
local BatchNorm = Layer:subclass("_BatchNorm")
BatchNorm._version = 2 -- 1 had no num_batches_tracked

function BatchNorm:reset_running_stats()
  if not self.track_running_stats then return end
  self.running_mean:zero_()
  self.running_var:fill_(1)
  self.num_batches_tracked:zero_()
end

-- Counts the batch; the share it gets in the running statistics. A momentum of nil makes them the cumulative average.
local function share_of_batch(self)
  if not (self.training and self.track_running_stats) then return self.momentum or 0 end
  self.num_batches_tracked:add_(1)
  return self.momentum or 1 / self.num_batches_tracked:item()
end

local function check_input(self, input)
  local n, name = input._p.ndim, self.class.__name
  if n < self.__low or n > self.__high then
    fail(("%s: expected %s input, got %dD of shape %s"):format(name, self.__expected, n, tostring(input.shape)))
  end
  if input._p.shape[1] ~= self.num_features then
    fail(("%s: expected %d channels in dimension 1, got shape %s"):format(name, self.num_features, tostring(input.shape)))
  end
end

local function forward(self, input)
  check_input(self, input)
  local share = share_of_batch(self)
  local use_batch = self.training or self.running_mean == nil
  return (F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, use_batch, share, self.eps))
end

function BatchNorm:_load_from_state_dict(state_dict, prefix, local_metadata, strict, report)
  local key = prefix .. "num_batches_tracked"
  if (local_metadata.version or 1) < 2 and self.track_running_stats and state_dict[key] == nil then
    state_dict[key] = require("lunette.create").zeros({}, {dtype = "int64"})
  end
  Layer._load_from_state_dict(self, state_dict, prefix, local_metadata, strict, report)
end

local function define(name, shapes, low, high, expected)
  local Norm = declare(name, {
    parent = BatchNorm,
    doc = ("(input - mean) / sqrt(var + eps) * weight + bias for each channel of an input %s, by the statistics of the batch in training and by "
      .. "running ones otherwise; momentum = lt.None averages all batches."):format(shapes),
    takes = "num_features:int>=0, eps:number=1e-5, momentum:number|none=0.1, affine:bool=true, track_running_stats:bool=true, *, bias:bool=true",
    parameters = {"weight(num_features) = 1 if affine", "bias(num_features) = 0 if affine and bias"},
    buffers = {
      "running_mean(num_features) = 0 if track_running_stats",
      "running_var(num_features) = 1 if track_running_stats",
      "num_batches_tracked:int64() = 0 if track_running_stats",
    },
    text = "!num_features eps momentum affine bias track_running_stats",
  })
  Norm.__low, Norm.__high, Norm.__expected, Norm.forward = low, high, expected, forward
  normalization[name] = Norm
end

define("BatchNorm1d", "[N, C] or [N, C, L]", 2, 3, "2D or 3D")
define("BatchNorm2d", "[N, C, H, W]", 4, 4, "4D")
define("BatchNorm3d", "[N, C, D, H, W]", 5, 5, "5D")

return normalization
