--- nn.utils.spectral_norm: a weight divided by its largest singular value (Miyato et al., 2018), by the parameter name_orig and buffers name_u and name_v.

local arguments = require("lunette.arguments")
local class = require("lunette.class")
local define = require("lunette.define")
local derived = require("lunette.nn.derived")
local hooks = require("lunette.nn.hooks")
local internals = require("lunette.nn.internals")
local Parameter = require("lunette.nn.parameter").Parameter
local spectral = require("lunette.nn.utils.spectral")

local fail = arguments.fail
local getmetatable, ipairs = getmetatable, ipairs

local family = {}
local declare = define.into(family, "nn.utils")

local VERSION = 1 -- of the saved form: before it the vector v was not saved, but the weight

local SpectralNorm = class.define("nn.utils.SpectralNorm", {parent = derived.Method, doc = "What spectral_norm puts on a module."})

function SpectralNorm:__init(name, n_power_iterations, dim, eps)
  self._tensor_name, self.n_power_iterations, self.dim, self.eps = name, n_power_iterations, dim, eps
end

function SpectralNorm:_compute(module, iterate)
  local name = self._tensor_name
  local weight, u, v = module[name .. "_orig"], module[name .. "_u"], module[name .. "_v"]
  local matrix = spectral.matrix(weight, self.dim)
  if iterate then spectral.iterate(matrix, u, v, self.n_power_iterations, self.eps) end
  return spectral.divide(weight, matrix, u, v)
end

function SpectralNorm:__call(module)
  module[self._tensor_name] = self:_compute(module, module.training)
end

-- State dicts ------------------------------------------------------------------------------------------------------------------------------

-- Notes the version of the saved form beside the module's own.
local Saving = class.define("nn.utils.SpectralNormSaving", {doc = "A hook of spectral_norm."})

function Saving:__init(name) self.name = name end

function Saving:__call(_, _, _, metadata)
  metadata.spectral_norm = metadata.spectral_norm or {}
  metadata.spectral_norm[self.name .. ".version"] = VERSION
end

-- The shortest v for which matrix v = u, or is as near to it as can be: conjugate gradients.
local function least_squares(matrix, u)
  local x, r = matrix:new_zeros(matrix.shape[1]), u
  local s = matrix:t():mv(r)
  local p, gamma = s, s:dot(s):item()
  local small = gamma * 1e-28
  for _ = 1, 2 * math.min(matrix.shape[0], matrix.shape[1]) do
    if gamma <= small then break end
    local q = matrix:mv(p)
    local step = gamma / q:dot(q):item()
    x, r = x + p * step, r - q * step
    s = matrix:t():mv(r)
    local after = s:dot(s):item()
    p, gamma = s + p * (after / gamma), after
  end
  return x
end

-- What an old state dict holds is turned into what the module has: weight = weight_orig / sigma gives sigma, and v is found from u.
local function renew_state(method, state_dict, key)
  local weight_orig, weight, u = state_dict[key .. "_orig"]:double(), state_dict[key]:double(), state_dict[key .. "_u"]:double()
  local sigma = (weight_orig * weight):sum() / (weight * weight):sum()
  local matrix = spectral.matrix(weight_orig, method.dim)
  local v = least_squares(matrix, u)
  state_dict[key .. "_v"] = (v * (sigma / u:dot(matrix:mv(v)))):to(state_dict[key .. "_u"].dtype)
  state_dict[key] = nil
end

local Loading = class.define("nn.utils.SpectralNormLoading", {doc = "A hook of spectral_norm."})

function Loading:__init(method) self.method = method end

function Loading:__call(_, state_dict, prefix, metadata, strict, missing)
  local method = self.method
  local key, version = prefix .. method._tensor_name, (metadata.spectral_norm or {})[method._tensor_name .. ".version"]
  if version and version >= VERSION then return end
  local has_all = state_dict[key .. "_orig"] ~= nil and state_dict[key .. "_u"] ~= nil and state_dict[key .. "_v"] ~= nil
  if not version and has_all and state_dict[key] == nil then return end
  if state_dict[key .. "_orig"] == nil or state_dict[key .. "_u"] == nil then return end -- loading itself says so
  if state_dict[key] ~= nil then
    renew_state(method, state_dict, key)
  elseif strict then
    missing[#missing + 1] = key
  end
end

-- The functions ----------------------------------------------------------------------------------------------------------------------------

declare("spectral_norm", {
  doc = "Divides a parameter of a module, seen as a matrix of its slices along dim, by its largest singular value: before every call the tensor name is made of the "
    .. "parameter name_orig and the vectors name_u and name_v, which in training come n_power_iterations nearer to the singular vectors. dim: 0, but 1 for transposed "
    .. "convolutions, unless it is given. Returns the module.",
  takes = "module:module, name:string=weight, n_power_iterations:int[1,10000]=1, eps:number=1e-12, dim:int?",
  call = function(module, name, n_power_iterations, eps, dim)
    if derived.find(module, SpectralNorm, name) then
      fail(("spectral_norm: cannot register two spectral_norm hooks on the same parameter %s"):format(name))
    end
    local weight = module[name]
    if arguments.is_tensor(weight) then dim = spectral.check_dim(weight, spectral.dim_of(module, dim)) end
    derived.rename("spectral_norm", module, name, name .. "_orig")
    local matrix = spectral.matrix(weight:detach(), dim)
    module:register_buffer(name .. "_u", spectral.random(matrix.shape[0], matrix, eps))
    module:register_buffer(name .. "_v", spectral.random(matrix.shape[1], matrix, eps))
    local method = SpectralNorm(name, n_power_iterations, dim, eps)
    derived.attach(method, module)
    hooks.add(module, "state_post", {Saving(name)}, false)
    hooks.add(module, "load_pre", {Loading(method)}, false)
    return module
  end,
  example = "> m = nn.utils.spectral_norm(nn.Linear(20, 40))\n> m.weight_u.shape, m.weight_v.shape\n{40}\n{20}",
})

-- Takes the hook of a kind off whose field `key` is `value`.
local function remove_hook(module, kind, owner, key, value)
  for _, entry in ipairs(getmetatable(module).hooks[kind] or {}) do
    if class.isinstance(entry[1], owner) and entry[1][key] == value then return hooks.remove(module, kind, entry[1]) end
  end
end

declare("remove_spectral_norm", {
  doc = "Makes what spectral_norm divided a plain parameter again, with its present value. Returns the module.",
  takes = "module:module, name:string=weight",
  call = function(module, name)
    local weight, method = derived.undo("spectral_norm", module, SpectralNorm, name)
    remove_hook(module, "state_post", Saving, "name", name)
    remove_hook(module, "load_pre", Loading, "method", method)
    for _, suffix in ipairs({"_u", "_v", "_orig"}) do internals.forget(getmetatable(module), name .. suffix) end
    module:register_parameter(name, Parameter(weight))
    return module
  end,
})

return family
