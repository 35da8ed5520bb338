--- Normalisation: by batch, instance, groups of channels, layer, neighbouring channels.

local arguments = require("lunette.arguments")
local declare = require("lunette.nn.declare")
local F = require("lunette.nn.functional")
local repr = require("lunette.nn.repr")

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

local function define(name, shapes, low, high, expected, example)
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
    example = example,
  })
  Norm.__low, Norm.__high, Norm.__expected, Norm.forward = low, high, expected, forward
  normalization[name] = Norm
end

define("BatchNorm1d", "[N, C] or [N, C, L]", 2, 3, "2D or 3D", "> nn.BatchNorm1d(100, {affine = false})(lt.randn(20, 100)).shape\n{20, 100}")
define("BatchNorm2d", "[N, C, H, W]", 4, 4, "4D", "> nn.BatchNorm2d(100)(lt.randn(20, 100, 5, 7)).shape\n{20, 100, 5, 7}")
define("BatchNorm3d", "[N, C, D, H, W]", 5, 5, "5D", "> nn.BatchNorm3d(10)(lt.randn(2, 10, 3, 4, 5)).shape\n{2, 10, 3, 4, 5}")

-- Instances -------------------------------------------------------------------------------------------------------------------------------

-- Without a batch the input is one instance.
local function instance_forward(self, input)
  local n, name = input._p.ndim, self.class.__name
  if n ~= self.__high and n ~= self.__high - 1 then
    fail(("%s: expected %dD or %dD input, got %dD of shape %s"):format(name, self.__high - 1, self.__high, n, tostring(input.shape)))
  end
  local single = n < self.__high
  local x = single and input:unsqueeze(0) or input
  if x.shape[1] ~= self.num_features then
    fail(("%s: expected %d channels in dimension %d, got shape %s"):format(name, self.num_features, single and 0 or 1, tostring(input.shape)))
  end
  local use_input = self.training or not self.track_running_stats
  local y = F.instance_norm(x, self.running_mean, self.running_var, self.weight, self.bias, use_input, self.momentum or 0, self.eps)
  return single and y:squeeze(0) or y
end

local function define_instance(n, shapes)
  local name = ("InstanceNorm%dd"):format(n)
  local Norm = declare(name, {
    parent = BatchNorm,
    doc = ("(input - mean) / sqrt(var + eps) * weight + bias for each channel of each instance of an input %s; with track_running_stats by running "
      .. "statistics in evaluation."):format(shapes),
    takes = "num_features:int>=0, eps:number=1e-5, momentum:number|none=0.1, affine:bool=false, track_running_stats:bool=false, *, bias:bool=true",
    parameters = {"weight(num_features) = 1 if affine", "bias(num_features) = 0 if affine and bias"},
    buffers = {
      "running_mean(num_features) = 0 if track_running_stats",
      "running_var(num_features) = 1 if track_running_stats",
      "num_batches_tracked:int64() = 0 if track_running_stats",
    },
    text = "!num_features eps momentum affine bias track_running_stats",
  })
  Norm.__high, Norm.forward = n + 2, instance_forward
  normalization[name] = Norm
end

define_instance(1, "[N, C, L] or [C, L]")
define_instance(2, "[N, C, H, W] or [C, H, W]")
define_instance(3, "[N, C, D, H, W] or [C, D, H, W]")

-- Groups, layers, neighbours --------------------------------------------------------------------------------------------------------------

normalization.GroupNorm = declare("GroupNorm", {
  of = "group_norm",
  takes = "num_groups:int>=1, num_channels:int>=0, eps, affine:bool=true, *, bias:bool=true",
  parameters = {"weight(num_channels) = 1 if affine", "bias(num_channels) = 0 if affine and bias"},
  text = "!num_groups !num_channels eps affine bias",
})

function normalization.GroupNorm:setup()
  if self.num_channels % self.num_groups ~= 0 then
    fail(("GroupNorm: num_channels %d must be divisible by num_groups %d"):format(self.num_channels, self.num_groups))
  end
end

normalization.LayerNorm = declare("LayerNorm", {
  of = "layer_norm",
  takes = "normalized_shape:shape>=0, eps, elementwise_affine:bool=true, bias:bool=true",
  parameters = {
    "weight(normalized_shape:unpack()) = 1 if elementwise_affine",
    "bias(normalized_shape:unpack()) = 0 if elementwise_affine and bias",
  },
  text = "!normalized_shape eps elementwise_affine bias",
})

normalization.RMSNorm = declare("RMSNorm", {
  of = "rms_norm",
  takes = "normalized_shape:shape>=0, eps, elementwise_affine:bool=true",
  parameters = {"weight(normalized_shape:unpack()) = 1 if elementwise_affine"},
  text = "!normalized_shape eps elementwise_affine",
})

normalization.LocalResponseNorm = declare("LocalResponseNorm", {
  of = "local_response_norm", takes = "size, alpha, beta, k", text = "!size alpha beta k",
})

normalization.CrossMapLRN2d = declare("CrossMapLRN2d", {
  doc = "LocalResponseNorm of images [N, C, H, W], under its former name.",
  takes = "size:int>=1, alpha:number=1e-4, beta:number=0.75, k:number=1",
  text = "!size alpha beta",
})

--- k is shown as a whole number when it is one, unlike that of LocalResponseNorm.
function normalization.CrossMapLRN2d:extra_repr() return Layer.extra_repr(self) .. ", k=" .. repr.number(self.k) end

function normalization.CrossMapLRN2d:forward(input)
  if input._p.ndim ~= 4 then fail(("CrossMapLRN2d: expected 4D input, got shape %s"):format(tostring(input.shape))) end
  return (F.local_response_norm(input, self.size, self.alpha, self.beta, self.k))
end

return normalization
