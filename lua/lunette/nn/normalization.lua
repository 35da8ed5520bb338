--- Normalisation: BatchNorm1d, BatchNorm2d, BatchNorm3d.

local arguments = require("lunette.arguments")
local class = require("lunette.nn.class")
local layer = require("lunette.nn.layer")
local F = require("lunette.nn.functional")
local init = require("lunette.nn.initialise")
local repr = require("lunette.nn.repr")

local Module, fail, no_more = class.Module, arguments.fail, layer.no_more

local normalization = {}

local options = "num_features:int, eps:number=1e-5, momentum:number|none=0.1, affine:bool=true, track_running_stats:bool=true"

-- What the three share: statistics over all dimensions but 1.
local BatchNorm = Module:subclass("_BatchNorm")
BatchNorm._version = 2 -- 1 had no num_batches_tracked

local function add_affine(self)
  if self.affine then
    self.weight = layer.parameter(self.num_features)
    self.bias = layer.parameter(self.num_features)
  else
    self:register_parameter("weight", nil)
    self:register_parameter("bias", nil)
  end
end

local function add_statistics(self)
  local create = require("lunette.create")
  local track = self.track_running_stats
  self:register_buffer("running_mean", track and create.zeros(self.num_features) or nil)
  self:register_buffer("running_var", track and create.ones(self.num_features) or nil)
  self:register_buffer("num_batches_tracked", track and create.zeros({}, {dtype = "int64"}) or nil)
end

-- self.momentum nil: the cumulative average.
function BatchNorm:setup(num_features, eps, momentum, affine, track_running_stats)
  self.num_features, self.eps = num_features, eps
  self.momentum = momentum ~= arguments.None and momentum or nil
  self.affine, self.track_running_stats = affine, track_running_stats
  add_affine(self)
  add_statistics(self)
  self:reset_parameters()
end

function BatchNorm:reset_running_stats()
  if not self.track_running_stats then return end
  self.running_mean:zero_()
  self.running_var:fill_(1)
  self.num_batches_tracked:zero_()
end

function BatchNorm:reset_parameters()
  self:reset_running_stats()
  if not self.affine then return end
  init.ones_(self.weight)
  init.zeros_(self.bias)
end

-- Counts the batch; the share it gets in the running statistics.
local function share_of_batch(self)
  if not (self.training and self.track_running_stats) then return self.momentum or 0 end
  self.num_batches_tracked:add_(1)
  return self.momentum or 1 / self.num_batches_tracked:item()
end

function BatchNorm:forward(x, ...)
  no_more(self, ...)
  self:_check_input_dim(x)
  local share = share_of_batch(self)
  local use_batch = self.training or self.running_mean == nil
  return (F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, use_batch, share, self.eps))
end

function BatchNorm:extra_repr()
  return ("%d, eps=%s, momentum=%s, affine=%s, track_running_stats=%s"):format(self.num_features, repr.float(self.eps),
    self.momentum and repr.float(self.momentum) or "None", repr.bool(self.affine), repr.bool(self.track_running_stats))
end

function BatchNorm:_load_from_state_dict(state_dict, prefix, local_metadata, strict, report)
  local key = prefix .. "num_batches_tracked"
  if (local_metadata.version or 1) < 2 and self.track_running_stats and state_dict[key] == nil then
    state_dict[key] = require("lunette.create").zeros({}, {dtype = "int64"})
  end
  Module._load_from_state_dict(self, state_dict, prefix, local_metadata, strict, report)
end

local function define(name, low, high, words)
  local Norm = BatchNorm:subclass(name)
  local parse = arguments.signature(name, options)

  function Norm:__init(...) self:setup(parse(...)) end

  function Norm:_check_input_dim(x)
    if not arguments.is_tensor(x) then fail(("%s: a tensor is needed, not %s"):format(name, arguments.describe(x))) end
    local n = x._p.ndim
    if n < low or n > high then fail(("%s: expected %s input, got %dD of shape %s"):format(name, words, n, tostring(x.shape))) end
    if x._p.shape[1] ~= self.num_features then
      fail(("%s: expected %d channels in dimension 1, got shape %s"):format(name, self.num_features, tostring(x.shape)))
    end
  end

  normalization[name] = Norm
end

define("BatchNorm1d", 2, 3, "2D or 3D")
define("BatchNorm2d", 4, 4, "4D")
define("BatchNorm3d", 5, 5, "5D")

return normalization
