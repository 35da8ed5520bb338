--- What prune.compact knows of layers: along which dimension their channels lie, and how a layer loses some of them.
--
-- producer: loses outputs. consumer: loses inputs, its output stays what it is but for what the lost inputs gave, which goes to the bias. follower: has one set of
-- numbers for each channel, which it hands on.

local class = require("lunette.class")
local internals = require("lunette.nn.internals")
local Parameter = require("lunette.nn.parameter").Parameter

local getmetatable, ipairs, next, rawget, rawset, tonumber, type = getmetatable, ipairs, next, rawget, rawset, tonumber, type

local channels = {}

-- The name of the class in nn that a module is of.
local function kind_of(m)
  local nn, owner = require("lunette.nn"), m.class
  while owner do
    local name = owner.__name
    if rawget(nn, name) == owner then return name end
    owner = class.parent_of(owner)
  end
end

local function has_plain_weights(m) return next(getmetatable(m).derived) == nil and m.parametrizations == nil end

-- Convolutions and the dimensions of their images.
local function image_dims(kind) return tonumber(kind:match("^Conv(%d)d$")) end

--- "producer", "follower" or nil, and the dimension of the channels counted from the end, of a layer's output.
function channels.role(m)
  local kind = kind_of(m)
  if not has_plain_weights(m) or not kind then return nil end
  if kind == "Linear" then return "producer", -1 end
  local n = image_dims(kind)
  if n and m.groups == 1 then return "producer", -n - 1 end
  if n and m.groups == m.in_channels and m.groups == m.out_channels then return "follower", -n - 1 end
  if kind:find("^BatchNorm%dd$") or kind == "PReLU" and m.num_parameters > 1 then return "follower", 1 end
end

--- The dimension of the input's channels of a layer of a role.
function channels.input_dim(m, input)
  local role, dim = channels.role(m)
  if not role then return nil end
  return dim < 0 and dim + #input.shape or dim
end

-- Changing -----------------------------------------------------------------------------------------------------------------------------------

-- A change notes what stood in a field, so that it can be taken back.
local function set(undo, m, name, value)
  local inner = getmetatable(m)
  local fields = inner.__index
  local before = rawget(fields, name)
  undo[#undo + 1] = function() rawset(fields, name, before) end
  rawset(fields, name, value)
  internals.changes = internals.changes + 1
end

local function set_tensor(undo, m, name, t)
  local before = m[name]
  if before == nil then return end
  set(undo, m, name, internals.is_parameter(before) and Parameter(t:contiguous(), before.requires_grad) or t:contiguous())
end

local function select(undo, m, name, dim, keep)
  local t = m[name]
  if t ~= nil then set_tensor(undo, m, name, t:detach():index_select(dim, keep)) end
end

--- Leaves a layer the outputs `keep`, an int64 tensor of positions.
function channels.keep_outputs(undo, m, keep)
  select(undo, m, "weight", 0, keep)
  select(undo, m, "bias", 0, keep)
  set(undo, m, m.out_features and "out_features" or "out_channels", keep:numel())
end

--- Leaves a layer that hands channels on those of `keep`.
function channels.keep_both(undo, m, keep)
  for _, name in ipairs({"weight", "bias", "running_mean", "running_var"}) do select(undo, m, name, 0, keep) end
  for _, name in ipairs({"num_features", "num_parameters", "in_channels", "out_channels", "groups"}) do
    if rawget(getmetatable(m).__index, name) ~= nil then set(undo, m, name, keep:numel()) end
  end
end

--- Leaves a layer the inputs `keep`. constant: what the inputs `lost` held, a vector, which the bias then holds; nil when nothing.
function channels.keep_inputs(undo, m, keep, lost, constant)
  if constant ~= nil then
    local weight = m.weight:detach():index_select(1, lost)
    local sums = #weight.shape > 2 and weight:flatten(2):sum(2) or weight
    local bias = sums:mv(constant)
    if m.bias ~= nil then
      set_tensor(undo, m, "bias", m.bias:detach() + bias)
    else
      set(undo, m, "bias", Parameter(bias))
    end
  end
  select(undo, m, "weight", 1, keep)
  set(undo, m, m.in_features and "in_features" or "in_channels", keep:numel())
end

--- Which outputs of a layer have only zeros for weights, a bool vector.
function channels.dead_outputs(m) return m.weight:detach():flatten(1):eq(0):all(1) end

--- Which inputs of a layer have only zeros for weights, a bool vector.
function channels.dead_inputs(m) return m.weight:detach():transpose(0, 1):flatten(1):eq(0):all(1) end

--- Does a constant in an input of a layer give a constant in its outputs? Not where a convolution adds zeros around it.
function channels.keeps_constants(m)
  if m.in_features then return true end
  if m.padding_mode ~= "zeros" then return true end
  if type(m.padding) == "string" then return m.padding == "valid" end
  for d = 0, #m.padding - 1 do
    if m.padding[d] ~= 0 then return false end
  end
  return true
end

return channels
