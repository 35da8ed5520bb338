--- nn.utils: the norm of gradients and clipping, parameters as one vector.

local arguments = require("lunette.arguments")
local create = require("lunette.create")
local define = require("lunette.define")
local ops = require("lunette.ops")

local fail, is_tensor = arguments.fail, arguments.is_tensor
local ipairs, type = ipairs, type

local gradients = {}
local declare = define.into(gradients, "nn.utils")

local MARGIN = 1e-6 -- keeps max_norm / total_norm finite
local PARAMETERS = "parameters:tensor|tensors|function"
local NORM = "norm_type:number|enum(inf)=2, error_if_nonfinite:bool=false, foreach:bool?"

-- Tensors given as one, as an array, or by an iterator, as an array.
local function list_of(owner, tensors)
  if is_tensor(tensors) then return {tensors} end
  if type(tensors) ~= "function" then return tensors end
  local out = {}
  for t in tensors do
    if not is_tensor(t) then fail(("%s: the iterator must give tensors, not %s"):format(owner, arguments.describe(t))) end
    out[#out + 1] = t
  end
  return out
end

-- The gradients that exist, without history.
local function grads_of(parameters)
  local out = {}
  for i = 1, #parameters do
    local g = parameters[i].grad
    if g ~= nil then out[#out + 1] = g:detach() end
  end
  return out
end

-- Norms on the device of the first and in the dtype that takes them all.
local function stacked(norms)
  local dtype, device = norms[1].dtype, norms[1].device
  local widest, mixed = norms[1], false
  for i = 2, #norms do
    local n = norms[i]
    if n.dtype ~= dtype or n.device ~= device then mixed, widest = true, widest + n:to(device) end
  end
  for i = 1, mixed and #norms or 0 do norms[i] = norms[i]:to(device):to(widest.dtype) end
  return (ops.stack(norms, 0))
end

-- The norm of all elements of some tensors together, a tensor without dimensions.
local function total_norm(owner, tensors, norm_type, error_if_nonfinite)
  if #tensors == 0 then return create.tensor(0) end
  local p, norms = norm_type == "inf" and math.huge or norm_type, {}
  for i = 1, #tensors do norms[i] = tensors[i]:detach():norm(p) end
  local total = stacked(norms):norm(p)
  if error_if_nonfinite and not total:isfinite():item() then
    fail(("%s: the total norm of order %s for gradients from `parameters` is non-finite, so it cannot be clipped. To disable this error and scale the gradients "
      .. "by the non-finite norm anyway, set error_if_nonfinite = false"):format(owner, tostring(norm_type)))
  end
  return total
end

local function scale(grads, max_norm, total)
  if #grads == 0 then return end
  local factor = (max_norm / (total:detach() + MARGIN)):clamp(nil, 1)
  if not factor.is_cuda and factor:item() == 1 then return end -- nothing waits for a value on the host
  local fitting = factor
  for i = 1, #grads do
    local g = grads[i]
    if g.dtype ~= fitting.dtype or g.device ~= fitting.device then fitting = factor:to(g.device):to(g.dtype) end
    g:mul_(fitting)
  end
end

declare("get_total_norm", {
  doc = "The norm of all elements of some tensors together, as of one vector: a tensor without dimensions. foreach is taken and makes no difference.",
  takes = "tensors:tensor|tensors|function, " .. NORM,
  call = function(tensors, norm_type, error_if_nonfinite)
    return total_norm("get_total_norm", list_of("get_total_norm", tensors), norm_type, error_if_nonfinite)
  end,
  example = "> nn.utils.get_total_norm{lt.tensor{3, 0}, lt.tensor{4}}\ntensor(5.)",
})

declare("clip_grads_with_norm_", {
  doc = "Multiplies the gradients of parameters by max_norm / total_norm where that is below 1; total_norm: what get_total_norm gave.",
  takes = PARAMETERS .. ", max_norm:number, total_norm:tensor, foreach:bool?",
  call = function(parameters, max_norm, total) scale(grads_of(list_of("clip_grads_with_norm_", parameters)), max_norm, total) end,
})

declare("clip_grad_norm_", {
  doc = "Scales the gradients of parameters (an array, an iterator or one tensor), in place, so that their norm, taken over all of them together, is at most max_norm. "
    .. "Returns the norm before, a tensor. norm_type: the order p; foreach is taken and makes no difference.",
  takes = PARAMETERS .. ", max_norm:number, " .. NORM,
  call = function(parameters, max_norm, norm_type, error_if_nonfinite)
    local grads = grads_of(list_of("clip_grad_norm_", parameters))
    local total = total_norm("clip_grad_norm_", grads, norm_type, error_if_nonfinite)
    scale(grads, max_norm, total)
    return total
  end,
  example = "> w = nn.Parameter(lt.tensor{3, 4})\n> (w * w):sum():backward()\n> nn.utils.clip_grad_norm_(w, 1)\ntensor(10.)\n> w.grad\ntensor([0.6000, 0.8000])",
})

declare("clip_grad_value_", {
  doc = "Limits each element of the gradients of parameters, in place, to -clip_value ... clip_value. foreach is taken and makes no difference.",
  takes = PARAMETERS .. ", clip_value:number, foreach:bool?",
  call = function(parameters, limit)
    for _, g in ipairs(grads_of(list_of("clip_grad_value_", parameters))) do g:clamp_(-limit, limit) end
  end,
  example = "> w = nn.Parameter(lt.tensor{0.25, 4})\n> (w * w):sum():backward()\n> nn.utils.clip_grad_value_(w, 1)\n> w.grad\ntensor([0.5000, 1.0000])",
})

-- One vector -------------------------------------------------------------------------------------------------------------------------------

local function check_devices(owner, parameters)
  for i = 2, #parameters do
    if parameters[i].device ~= parameters[1].device then
      fail(("%s: parameters on one device are needed, found %s and %s"):format(owner, parameters[1].device, parameters[i].device))
    end
  end
end

declare("parameters_to_vector", {
  doc = "The elements of parameters, one after another, as one vector.",
  takes = PARAMETERS,
  call = function(parameters)
    local all = list_of("parameters_to_vector", parameters)
    if #all == 0 then fail("parameters_to_vector: at least one parameter is needed") end
    check_devices("parameters_to_vector", all)
    local parts = {}
    for i, p in ipairs(all) do parts[i] = p:reshape(-1) end
    return (ops.cat(parts, 0))
  end,
  example = "> nn.utils.parameters_to_vector{lt.tensor{{1, 2}, {3, 4}}, lt.tensor{5}}\ntensor([1., 2., 3., 4., 5.])",
})

declare("vector_to_parameters", {
  doc = "Makes the elements of a vector, in order, those of parameters, which share them from then on.",
  takes = "vec:tensor, " .. PARAMETERS,
  call = function(vec, parameters)
    local all, count, at = list_of("vector_to_parameters", parameters), 0, 0
    check_devices("vector_to_parameters", all)
    for _, p in ipairs(all) do count = count + p:numel() end
    if #vec.shape ~= 1 or vec:numel() < count then
      fail(("vector_to_parameters: a vector of at least %d elements is needed, not %s"):format(count, arguments.describe(vec)))
    end
    for _, p in ipairs(all) do
      p.data = vec:detach():narrow(0, at, p:numel()):view(p.shape)
      at = at + p:numel()
    end
  end,
  example = "> w = nn.Parameter(lt.zeros(2, 2))\n> nn.utils.vector_to_parameters(lt.tensor{1, 2, 3, 4}, {w})\n> w:tolist()[2][1]\n3",
})

return gradients
