--- nn.utils.parametrizations: weights that are orthogonal, of spectral norm 1, or length times direction, as functions of what is stored (parametrize.lua).

local each = require("lunette.each")
local arguments = require("lunette.arguments")
local define = require("lunette.define")
local internals = require("lunette.nn.internals")
local orthogonal = require("lunette.nn.utils.orthogonal")
local parametrize = require("lunette.nn.utils.parametrize")
local spectral = require("lunette.nn.utils.spectral")
local weight_norm = require("lunette.nn.utils.weight_norm")
local F = require("lunette.nn.functional")

local fail, is_tensor = arguments.fail, arguments.is_tensor
local Module = internals.Module

local parametrizations = {}
local declare = define.into(parametrizations, "nn.utils.parametrizations")

local function tensor_of(owner, module, name)
  local t = module[name]
  if not is_tensor(t) then fail(("%s: %s has no parameter or buffer with name '%s'"):format(owner, tostring(module), name)) end
  return t
end

-- Lets a module load what the older function of that name saved: `names` maps the ends of its keys to those below parametrizations.<name>.
local function take_older_keys(module, name, names)
  module:register_load_state_dict_pre_hook(function(_, state_dict, prefix)
    for old in each(names) do
      if state_dict[prefix .. name .. old] == nil then return end
    end
    for old, new in each(names) do
      state_dict[("%sparametrizations.%s.%s"):format(prefix, name, new)] = state_dict[prefix .. name .. old]
      state_dict[prefix .. name .. old] = nil
    end
  end)
end

-- Length times direction -------------------------------------------------------------------------------------------------------------------

local WeightNorm = Module:subclass("_WeightNorm")

function WeightNorm:__init(dim) self.dim = dim end
function WeightNorm:forward(g, v) return weight_norm.compose(g, v, self.dim) end
function WeightNorm:right_inverse(weight) return weight_norm.norm_except(weight, self.dim), weight end

declare("weight_norm", {
  doc = "Makes a tensor of a module its norms along dim, parametrizations.<name>.original0, times its direction, original1; dim = lt.None: the norm of the whole tensor. "
    .. "Returns the module.",
  takes = "module:module, name:string=weight, dim:int|none=0",
  call = function(module, name, dim)
    tensor_of("weight_norm", module, name)
    parametrize.register_parametrization(module, name, WeightNorm(weight_norm.dim_of(dim)), {unsafe = true})
    take_older_keys(module, name, {_g = "original0", _v = "original1"})
    return module
  end,
  example = "> m = nn.utils.parametrizations.weight_norm(nn.Linear(20, 40))\n> m.parametrizations.weight.original0.shape\n{40, 1}",
})

-- Spectral norm 1 --------------------------------------------------------------------------------------------------------------------------

local FIRST = 15 -- iterations when it is made

local SpectralNorm = Module:subclass("_SpectralNorm")

function SpectralNorm:__init(weight, n_power_iterations, dim, eps)
  self.dim, self.eps = spectral.check_dim(weight, dim), eps
  if #weight.shape == 1 then return end
  self.n_power_iterations = n_power_iterations
  local matrix = spectral.matrix(weight:detach(), self.dim)
  self:register_buffer("_u", spectral.random(matrix.shape[0], matrix, eps))
  self:register_buffer("_v", spectral.random(matrix.shape[1], matrix, eps))
  spectral.iterate(matrix, self._u, self._v, FIRST, eps, true)
end

function SpectralNorm:forward(weight)
  if #weight.shape == 1 then return (F.normalize(weight, 2, 0, self.eps)) end
  local matrix = spectral.matrix(weight, self.dim)
  if self.training then spectral.iterate(matrix, self._u, self._v, self.n_power_iterations, self.eps, true) end
  return spectral.divide(weight, matrix, self._u, self._v)
end

function SpectralNorm:right_inverse(value) return value end

declare("spectral_norm", {
  doc = "Divides a tensor of a module, seen as a matrix of its slices along dim, by its largest singular value, which each reading in training approaches by "
    .. "n_power_iterations; a vector by its length. dim: 0, but 1 for transposed convolutions, unless it is given. Returns the module.",
  takes = "module:module, name:string=weight, n_power_iterations:int[1,10000]=1, eps:number=1e-12, dim:int?",
  call = function(module, name, n_power_iterations, eps, dim)
    local weight = tensor_of("spectral_norm", module, name)
    local norm = SpectralNorm(weight, n_power_iterations, spectral.dim_of(module, dim), eps)
    parametrize.register_parametrization(module, name, norm)
    take_older_keys(module, name, {_orig = "original", _u = "0._u", _v = "0._v"})
    return module
  end,
  example = "> m = nn.utils.parametrizations.spectral_norm(nn.Linear(20, 40))\n> m.parametrizations.weight[0]._u.shape\n{40}",
})

-- Orthogonal -------------------------------------------------------------------------------------------------------------------------------

declare("orthogonal", {
  doc = "Makes a matrix, or a batch of matrices, of a module orthogonal: its columns, or rows where it has fewer, are orthonormal. orthogonal_map: \"matrix_exp\", "
    .. "\"cayley\" or \"householder\", by default matrix_exp for square ones and householder for others; use_trivialization: what is stored is counted from a fixed "
    .. "orthogonal matrix, so that any orthogonal matrix can be assigned. Returns the module.",
  takes = "module:module, name:string=weight, orthogonal_map:enum(matrix_exp|cayley|householder)?, *, use_trivialization:bool=true",
  call = function(module, name, map, use_trivialization)
    local weight = tensor_of("orthogonal", module, name)
    if #weight.shape < 2 then fail(("orthogonal: a matrix or a batch of matrices is needed, not a tensor of shape %s"):format(tostring(weight.shape))) end
    map = map or (weight.shape[-1] == weight.shape[-2] and "matrix_exp" or "householder")
    parametrize.register_parametrization(module, name, orthogonal(weight, map, use_trivialization), {unsafe = true})
    return module
  end,
  example = "> m = nn.utils.parametrizations.orthogonal(nn.Linear(2, 3))\n> lt.allclose(m.weight:t():mm(m.weight), lt.eye(2), {atol = 1e-6})\ntrue",
})

return arguments.strict(parametrizations, "nn.utils.parametrizations")
