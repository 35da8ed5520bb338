--- nn.utils.weight_norm: a weight as length times direction (Salimans and Kingma, 2016), by parameters name_g and name_v.

local arguments = require("lunette.arguments")
local class = require("lunette.class")
local define = require("lunette.define")
local derived = require("lunette.nn.derived")
local Parameter = require("lunette.nn.parameter").Parameter

local fail, None = arguments.fail, arguments.None
local rawequal = rawequal

local family = {}
local declare = define.into(family, "nn.utils")

-- The norm of each slice of v along dim, or with -1 of all elements.
local function norm_except(v, dim)
  if dim == -1 then return v:norm() end
  local n, others = #v.shape, {}
  if dim < -n or dim >= n then
    fail(("weight_norm: dim %d is out of range for a tensor of shape %s"):format(dim, tostring(v.shape)))
  end
  for d = 0, n - 1 do
    if d ~= dim % n then others[#others + 1] = d end
  end
  if #others == 0 then return v:abs() end
  return v:norm(2, others, true)
end
family.norm_except = norm_except

--- g v / |v|, the norm that of each slice along dim.
local function compose(g, v, dim) return v * (g / norm_except(v, dim)) end
family.compose = compose

--- dim as the functions take it: lt.None and -1 both mean all elements.
function family.dim_of(dim) return rawequal(dim, None) and -1 or dim end

local WeightNorm = class.define("nn.utils.WeightNorm", {parent = derived.Method, doc = "What weight_norm puts on a module."})

function WeightNorm:__init(name, dim) self._tensor_name, self.dim = name, dim end

function WeightNorm:_compute(module)
  return compose(module[self._tensor_name .. "_g"], module[self._tensor_name .. "_v"], self.dim)
end

declare("weight_norm", {
  doc = "Splits a parameter of a module into its norms along dim, the parameter name_g, and its direction, name_v; before every call the tensor name is made of both. "
    .. "dim = lt.None: the norm of the whole tensor. Returns the module.",
  takes = "module:module, name:string=weight, dim:int|none=0",
  call = function(module, name, dim)
    if derived.find(module, WeightNorm, name) then
      fail(("weight_norm: cannot register two weight_norm hooks on the same parameter %s"):format(name))
    end
    local method = WeightNorm(name, family.dim_of(dim))
    local p = module[name]
    local norms = arguments.is_tensor(p) and norm_except(p:detach(), method.dim)
    derived.rename("weight_norm", module, name)
    module:register_parameter(name .. "_g", Parameter(norms))
    module:register_parameter(name .. "_v", Parameter(p:detach()))
    derived.attach(method, module)
    return module
  end,
  example = "> m = nn.utils.weight_norm(nn.Linear(20, 40))\n> m.weight_g.shape, m.weight_v.shape\n{40, 1}\n{40, 20}",
})

declare("remove_weight_norm", {
  doc = "Makes what weight_norm split one parameter again, with its present value. Returns the module.",
  takes = "module:module, name:string=weight",
  call = function(module, name)
    local weight = derived.undo("weight_norm", module, WeightNorm, name)
    module[name .. "_g"] = nil
    module[name .. "_v"] = nil
    module:register_parameter(name, Parameter(weight))
    return module
  end,
})

return family
