--- nn.functional, F: layers and losses as functions. Each checks its arguments, fills in defaults and calls operators.
---
--- Names, order and defaults are those of torch.nn.functional. Nothing here keeps a state.

local arguments = require("lunette.arguments")
local base = require("lunette.ffi")
local ops = require("lunette.ops")
local reductions = require("lunette.nn.reductions")

local signature, fail = arguments.signature, arguments.fail

local F = {}

-- Headers are read directly here: this is the path of every training step, and the operator looks at the handle anyway.
local INT64 = tonumber(base.C.LN_INT64)

local function ndim(t) return t._p.ndim end

-- The cure for labels and ids that are floats, as numbers from Lua are unless a dtype is named.
local function need_integers(owner, what, t)
  if t._p.dtype == INT64 then return t end
  if t.dtype:find("float", 1, true) or t.dtype == "bool" then
    fail(("%s: %s must be int64, not %s; make them with lt.LongTensor{...} or convert with :to(\"int64\")"):format(owner, what, t.dtype))
  end
  return t:to("int64")
end

-- Activations ----------------------------------------------------------------------------------------------------------------------------

-- name, parameters after input; with `inplace` the last one chooses the in-place form.
local rows = {
  {"relu", "inplace:bool=false"},
  {"relu6", "inplace:bool=false"},
  {"leaky_relu", "negative_slope:number=0.01, inplace:bool=false"},
  {"elu", "alpha:number=1, inplace:bool=false"},
  {"silu", "inplace:bool=false"},
  {"hardtanh", "min_val:number=-1, max_val:number=1, inplace:bool=false"},
  {"threshold", "threshold:number, value:number, inplace:bool=false"},
  {"softplus", "beta:number=1, threshold:number=20"},
  {"sigmoid", ""},
  {"logsigmoid", ""},
  {"gelu", ""},
  {"tanh", ""},
}

local function define(name, parameters)
  local _, count = parameters:gsub(":", "")
  local parse = signature(name, "input:tensor" .. (count > 0 and ", " .. parameters or ""))
  local operator, within = ops[name], name .. "_"
  if not parameters:find("inplace", 1, true) then
    F[name] = function(...) return operator(parse(...)) end
  elseif count == 1 then
    F[name] = function(...)
      local x, inplace = parse(...)
      if inplace then return x[within](x) end
      return (operator(x))
    end
  elseif count == 2 then
    F[name] = function(...)
      local x, a, inplace = parse(...)
      if inplace then return x[within](x, a) end
      return (operator(x, a))
    end
  else
    F[name] = function(...)
      local x, a, b, inplace = parse(...)
      if inplace then return x[within](x, a, b) end
      return (operator(x, a, b))
    end
  end
end

for _, row in ipairs(rows) do define(row[1], row[2]) end

for _, name in ipairs({"relu", "relu6", "leaky_relu", "elu", "hardtanh", "threshold"}) do
  F[name .. "_"] = function(x, ...)
    if not arguments.is_tensor(x) then fail(("%s_: a tensor is needed, not %s"):format(name, arguments.describe(x))) end
    return x[name .. "_"](x, ...)
  end
end

local warned = {}

-- The dimension that an absent `dim` means.
local function implicit_dim(name, x)
  if not warned[name] then
    warned[name] = true
    io.stderr:write(("warning: %s without dim picks a dimension by the number of dimensions; write dim = ...\n"):format(name))
  end
  local n = ndim(x)
  return (n == 0 or n == 1 or n == 3) and 0 or 1
end

local function define_softmax(name)
  local parse = signature(name, "input:tensor, dim:int?, _stacklevel:int=3, dtype:dtype?")
  local operator = ops[name]
  F[name] = function(...)
    local x, dim, _, dtype = parse(...)
    return operator(x, dim or implicit_dim(name, x), dtype)
  end
end

define_softmax("softmax")
define_softmax("log_softmax")

-- Linear ---------------------------------------------------------------------------------------------------------------------------------

local parse_linear = signature("linear", "input:tensor, weight:tensor, bias:tensor?")
local parse_bilinear = signature("bilinear", "input1:tensor, input2:tensor, weight:tensor, bias:tensor?")

--- input weight^T + bias over the last dimension.
function F.linear(...) return (ops.linear(parse_linear(...))) end

--- y[..., k] = sum_ij input1[..., i] weight[k, i, j] input2[..., j] + bias[k].
function F.bilinear(...)
  local x1, x2, weight, bias = parse_bilinear(...)
  local shape, n1, n2 = weight.shape, x1.shape[-1], x2.shape[-1]
  if #shape ~= 3 or shape[1] ~= n1 or shape[2] ~= n2 then
    fail(("bilinear: weight of shape %s does not fit inputs of shape %s and %s"):format(tostring(shape), tostring(x1.shape), tostring(x2.shape)))
  end
  local left = x1:unsqueeze(-1) * x2:unsqueeze(-2)
  return ops.linear(left:flatten(-2, -1), weight:flatten(1, 2), bias)
end

-- Convolution and pooling ----------------------------------------------------------------------------------------------------------------

local parse_conv2d = signature("conv2d",
  "input:tensor, weight:tensor, bias:tensor?, stride:ints=1, padding:ints=0, dilation:ints=1, groups:int=1")

function F.conv2d(...) return (ops.conv2d(parse_conv2d(...))) end

local parse_max_pool2d = signature("max_pool2d",
  "input:tensor, kernel_size:ints, stride:ints?, padding:ints=0, dilation:ints=1, ceil_mode:bool=false, return_indices:bool=false")

--- The largest element of each window; with return_indices also its flat place in the plane, from 0.
function F.max_pool2d(...)
  local x, kernel_size, stride, padding, dilation, ceil_mode, return_indices = parse_max_pool2d(...)
  local y, indices = ops.max_pool2d(x, kernel_size, stride, padding, dilation, ceil_mode)
  if return_indices then return y, indices end
  return y
end

local parse_avg_pool2d = signature("avg_pool2d", "input:tensor, kernel_size:ints, stride:ints?, padding:ints=0, ceil_mode:bool=false, "
  .. "count_include_pad:bool=true, divisor_override:int?")

function F.avg_pool2d(...) return (ops.avg_pool2d(parse_avg_pool2d(...))) end

-- Padding --------------------------------------------------------------------------------------------------------------------------------

local parse_pad = signature("pad", "input:tensor, pad:size, mode:enum(constant|reflect|replicate|circular)=constant, value:number=0")

-- Which of the n elements stands at place i, i counted from the first real one.
local places = {
  replicate = function(i, n) return math.max(0, math.min(n - 1, i)) end,
  circular = function(i, n) return i % n end,
  reflect = function(i, n) return i < 0 and -i or i >= n and 2 * (n - 1) - i or i end,
}

local function check_pad(x, mode, d, before, after)
  local n = x.shape[d]
  local most = mode == "reflect" and n - 1 or mode == "circular" and n or math.huge
  if n + before + after < 0 or before > most or after > most or mode ~= "constant" and n == 0 then
    fail(("pad: %d and %d are out of range for dimension %d of shape %s, mode %s"):format(before, after, d, tostring(x.shape), mode))
  end
end

local function pad_with_value(x, d, before, after, value)
  local n, shape = x.shape[d], {x.shape:unpack()}
  local from, to = math.max(0, -before), n - math.max(0, -after)
  local parts = {}
  local function filled(count)
    if count <= 0 then return end
    shape[d + 1] = count
    parts[#parts + 1] = ops.full(shape, value, x.dtype, x.device)
  end
  filled(before)
  parts[#parts + 1] = x:narrow(d, from, to - from)
  filled(after)
  return #parts == 1 and parts[1] or ops.cat(parts, d)
end

local function pad_by_places(x, d, before, after, mode)
  local n, index = x.shape[d], {}
  for i = -before, n + after - 1 do index[#index + 1] = places[mode](i, n) end
  local index_tensor = require("lunette.create").tensor(index, {dtype = "int64", device = x.device})
  return x:index_select(d, index_tensor)
end

--- pad: pairs before, after; the last dimension comes first.
function F.pad(...)
  local x, pad, mode, value = parse_pad(...)
  local pads = arguments.is_size(pad) and {pad:unpack()} or pad
  local n = #x.shape
  if #pads % 2 ~= 0 or #pads / 2 > n then
    fail(("pad: %d numbers do not pair with the dimensions of shape %s"):format(#pads, tostring(x.shape)))
  end
  for i = 1, #pads, 2 do
    local d, before, after = n - (i + 1) / 2, pads[i], pads[i + 1]
    check_pad(x, mode, d, before, after)
    if before ~= 0 or after ~= 0 then
      x = mode == "constant" and pad_with_value(x, d, before, after, value) or pad_by_places(x, d, before, after, mode)
    end
  end
  return x
end

-- Normalisation and dropout --------------------------------------------------------------------------------------------------------------

local parse_batch_norm = signature("batch_norm", "input:tensor, running_mean:tensor?, running_var:tensor?, weight:tensor?, bias:tensor?, "
  .. "training:bool=false, momentum:number=0.1, eps:number=1e-5")

local function check_batch(x)
  local p = x._p
  if p.ndim >= 2 and p.shape[1] > 0 and p.numel == p.shape[1] then
    fail(("batch_norm: more than 1 value per channel is needed when training, got input of shape %s"):format(tostring(x.shape)))
  end
end

function F.batch_norm(...)
  local x, running_mean, running_var, weight, bias, training, momentum, eps = parse_batch_norm(...)
  if training then check_batch(x) end
  return (ops.batch_norm(x, weight, bias, running_mean, running_var, training, momentum, eps))
end

local parse_dropout = signature("dropout", "input:tensor, p:number=0.5, training:bool=true, inplace:bool=false")

function F.dropout(...)
  local x, p, training, inplace = parse_dropout(...)
  if not (p >= 0 and p <= 1) then fail(("dropout: p must lie between 0 and 1, not %s"):format(tostring(p))) end
  if not training then return x end
  if inplace then return x:dropout_(p, true) end
  return (ops.dropout(x, p, true))
end

-- Embedding ------------------------------------------------------------------------------------------------------------------------------

local parse_embedding = signature("embedding", "input:tensor, weight:tensor, padding_idx:int?, max_norm:number?, norm_type:number=2, "
  .. "scale_grad_by_freq:bool=false, sparse:bool=false")

-- Rows of weight that are looked up and longer than max_norm are shortened, in place.
local function shorten_rows(weight, ids, max_norm, norm_type)
  local index = ids:reshape(-1)
  local rows_used = weight.data:index_select(0, index)
  local norms = rows_used:norm(norm_type, 1, true)
  weight.data[index] = ops.where(norms:gt(max_norm), rows_used * (max_norm / (norms + 1e-7)), rows_used)
end

-- The same values, with gradients divided by how often their id occurs.
local function share_gradient(y, ids, n)
  local index = ids:reshape(-1)
  local create = require("lunette.create")
  local counts = create.zeros({n}, {dtype = y.dtype, device = y.device})
  counts = counts:index_add(0, index, create.ones({index:numel()}, {dtype = y.dtype, device = y.device}))
  local share = counts:index_select(0, index):reciprocal():view(ids.shape):unsqueeze(-1)
  return y * share + (y * (1 - share)):detach()
end

local function padding_of(padding_idx, n)
  if padding_idx == nil then return -1 end
  if padding_idx < -n or padding_idx >= n then
    fail(("embedding: padding_idx %d is out of range for %d rows (ids start at 0)"):format(padding_idx, n))
  end
  return padding_idx < 0 and padding_idx + n or padding_idx
end

--- Rows of weight at the ids `input`; the row padding_idx gets no gradient.
function F.embedding(...)
  local ids, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq = parse_embedding(...)
  ids = need_integers("embedding", "ids", ids)
  if ndim(weight) ~= 2 then fail(("embedding: weight must have 2 dimensions, not shape %s"):format(tostring(weight.shape))) end
  if max_norm and ids:numel() > 0 then shorten_rows(weight, ids, max_norm, norm_type) end
  local y = ops.embedding(weight, ids, padding_of(padding_idx, tonumber(weight._p.shape[0])))
  if scale_grad_by_freq and y.requires_grad and ids:numel() > 0 then y = share_gradient(y, ids, weight.shape[0]) end
  return y
end

-- Losses ---------------------------------------------------------------------------------------------------------------------------------

local element = "input:tensor, target:tensor, size_average:bool?, reduce:bool?, reduction:enum(none|mean|sum)=mean"
local classes = "input:tensor, target:tensor, weight:tensor?, size_average:bool?, ignore_index:int=-100, reduce:bool?, "
  .. "reduction:enum(none|mean|sum)=mean"
local parse_l1, parse_mse = signature("l1_loss", element), signature("mse_loss", element)
local parse_nll, parse_cross = signature("nll_loss", classes), signature("cross_entropy", classes .. ", label_smoothing:number=0")

--- |input - target|.
function F.l1_loss(...)
  local x, target, size_average, reduce, reduction = parse_l1(...)
  return reductions.apply((x - target):abs(), reductions.name(size_average, reduce, reduction))
end

--- (input - target)^2.
function F.mse_loss(...)
  local x, target, size_average, reduce, reduction = parse_mse(...)
  return (ops.mse_loss(x, target, reductions.name(size_average, reduce, reduction)))
end

--- input: log-probabilities [N, C, ...], target: classes from 0.
function F.nll_loss(...)
  local x, target, weight, size_average, ignore_index, reduce, reduction = parse_nll(...)
  target = need_integers("nll_loss", "labels", target)
  return (ops.nll_loss(x, target, weight, ignore_index, reductions.name(size_average, reduce, reduction)))
end

--- input: logits [N, C, ...], target: classes from 0, or probabilities of input's shape.
function F.cross_entropy(...)
  local x, target, weight, size_average, ignore_index, reduce, reduction, label_smoothing = parse_cross(...)
  if ndim(target) ~= ndim(x) then target = need_integers("cross_entropy", "labels", target) end
  return (ops.cross_entropy(x, target, weight, ignore_index, reductions.name(size_average, reduce, reduction), label_smoothing))
end

return F
