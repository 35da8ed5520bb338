--- nn.utils.parametrize: tensors of modules that are functions of others. `m.weight` computes the function whenever it is read, `m.weight = t` sets what it is computed
--- from; in the state dict stands parametrizations.weight.original.
--
-- A module with such tensors belongs to a class of its own, below the class that it had, whose instances look among their parametrizations for a field first.

local arguments = require("lunette.arguments")
local autograd = require("lunette.autograd")
local catalog = require("lunette.catalog")
local class = require("lunette.class")
local container = require("lunette.nn.container")
local define = require("lunette.define")
local hooks = require("lunette.nn.hooks")
local internals = require("lunette.nn.internals")
local Parameter = require("lunette.nn.parameter").Parameter
local protect = require("lunette.protect")

local fail, describe, is_tensor = arguments.fail, arguments.describe, arguments.is_tensor
local getmetatable, ipairs, rawget, select, type, unpack = getmetatable, ipairs, rawget, select, type, unpack

local parametrize = {}
local declare = define.into(parametrize, "nn.utils.parametrize")

-- What a right_inverse gave: several values, an array of them, or one.
local function all_of(...)
  local first = (...)
  if type(first) == "table" and getmetatable(first) == nil then return {n = #first, unpack(first)}, true end
  return {n = select("#", ...), ...}, select("#", ...) > 1
end

local function register(module, name, t)
  if internals.is_parameter(t) then module:register_parameter(name, t) else module:register_buffer(name, t) end
end

local function check_tensors(owner, values)
  for i = 1, values.n do
    if not is_tensor(values[i]) then
      fail(("%s: 'right_inverse' must return a tensor or several, value %d is %s"):format(owner, i - 1, describe(values[i])))
    end
  end
end

-- Refuses a tensor that has not the dtype, or not the shape, of another one.
local function check_same(owner, t, like, what)
  if not is_tensor(t) then fail(("%s: %s must return a tensor, not %s"):format(owner, what, describe(t))) end
  if t.dtype ~= like.dtype then
    fail(("%s: %s may not change the dtype of the tensor, unless unsafe = true; it was %s and is %s"):format(owner, what, like.dtype, t.dtype))
  end
  if t.shape ~= like.shape then
    fail(("%s: %s may not change the shape of the tensor, unless unsafe = true; it was %s and is %s"):format(owner, what, tostring(like.shape), tostring(t.shape)))
  end
end

-- The list ---------------------------------------------------------------------------------------------------------------------------------

local List = container.ModuleList:subclass("ParametrizationList")
parametrize.ParametrizationList = catalog.add(List, {
  name = "nn.utils.parametrize.ParametrizationList", signature = "modules, original, unsafe:bool=false",
  doc = "The functions that one tensor is computed by, and what it is computed from: `original`, or original0, original1 ... where right_inverse gives several tensors. "
    .. "Calling the list computes the tensor.",
  example = "> m = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))\n> m.parametrizations.weight.original0.shape\n{2, 1}",
})

-- What the last function gives for original through all right inverses; one without is passed over.
local function inverted(modules, original)
  local values, several = {n = 1, original}, false
  for i = #modules, 1, -1 do
    local m = modules[i]
    if m.right_inverse then
      local new, many = all_of(m:right_inverse(unpack(values, 1, values.n)))
      if new.n > 0 and new[1] ~= nil then values, several = new, many end
    end
  end
  return values, several
end

-- The only tensor is kept, a parameter as the object that it is.
local function keep_original(self, original, new)
  if new.dtype ~= original.dtype then
    fail(("register_parametrization: when 'right_inverse' gives one tensor, it may not change the dtype %s, to %s"):format(original.dtype, new.dtype))
  end
  if new.device ~= original.device then
    fail(("register_parametrization: when 'right_inverse' gives one tensor, it may not change the device %s, to %s"):format(original.device, new.device))
  end
  if new.id ~= original.id then original.data = new:detach() end
  register(self, "original", original)
end

local function keep_several(self, original, values)
  for i = 1, values.n do
    local t = values[i]:detach()
    if internals.is_parameter(original) then t = Parameter(t, original.requires_grad) else t:requires_grad_(original.requires_grad) end
    register(self, ("original%d"):format(i - 1), t)
  end
end

function List:__init(modules, original, unsafe)
  if type(modules) ~= "table" or #modules == 0 then fail("ParametrizationList: one or more modules are needed") end
  if not is_tensor(original) then fail(("ParametrizationList: a tensor is needed, not %s"):format(describe(original))) end
  container.ModuleList.__init(self, modules)
  self.unsafe = unsafe == true
  local like = original:detach()
  local values, several = autograd.no_grad(function() return inverted(modules, original) end)
  check_tensors("register_parametrization", values)
  self.is_tensor, self.ntensors = not several, values.n
  if several then keep_several(self, original, values) else keep_original(self, original, values[1]) end
  if not self.unsafe then check_same("register_parametrization", self(), like, "a parametrization") end
end

function List:forward()
  local x
  if self.is_tensor then
    x = self[0](self.original)
  else
    local originals = {}
    for i = 1, self.ntensors do originals[i] = self[("original%d"):format(i - 1)] end
    x = self[0](unpack(originals, 1, self.ntensors))
  end
  for i = 1, #self - 1 do x = self[i](x) end
  return x
end

-- Through all right inverses, each of which must be there.
local function invert(self, value)
  local values = {n = 1, value}
  for i = #self - 1, 0, -1 do
    local m = self[i]
    local new = m.right_inverse and all_of(m:right_inverse(unpack(values, 1, values.n)))
    if not new or new.n == 0 or new[1] == nil then fail(("parametrization %s does not implement right_inverse, so the tensor cannot be assigned to"):format(m.class.__name)) end
    values = new
  end
  check_tensors("assignment to a parametrized tensor", values)
  return values
end

local function set(self, name, value)
  local t = self[name]
  if value.dtype ~= t.dtype then fail(("the tensor that 'right_inverse' gave has dtype %s while '%s' has dtype %s"):format(value.dtype, name, t.dtype)) end
  t.data = value:detach():clone()
end

--- Makes the tensor `value`, as nearly as the functions allow: sets what it is computed from.
function List:right_inverse(value)
  if not is_tensor(value) then fail(("a parametrized tensor takes a tensor, not %s"):format(describe(value))) end
  autograd.no_grad(function()
    local values = invert(self, value)
    if values.n ~= self.ntensors then fail(("'right_inverse' must give %d tensors, it gave %d"):format(self.ntensors, values.n)) end
    for i = 1, values.n do set(self, self.is_tensor and "original" or ("original%d"):format(i - 1), values[i]) end
  end)
end

-- Fields that are computed -----------------------------------------------------------------------------------------------------------------

local caching, cache = 0, {}

-- The list behind a field, given the fields of a module.
local function list_behind(fields, name)
  local all = rawget(fields, "parametrizations")
  local inner = all and getmetatable(all)
  return inner and inner.kind[name] == "module" and inner.__index[name] or nil
end

local function value_of(list)
  if caching == 0 then return (list()) end
  if cache[list] == nil then cache[list] = list() end
  return cache[list]
end

-- The class of a parametrized module of a class: made for each module, as in PyTorch.
local function parametrized(owner)
  local own = owner:subclass("Parametrized" .. owner.__name)
  own.__returns_one = owner.__returns_one
  function own.__shared(new, shared)
    owner.__shared(new, shared)
    local before = shared.fields.__index
    shared.fields = {
      __index = function(fields, name)
        local list = list_behind(fields, name)
        if list then return value_of(list) end
        if type(before) == "function" then return before(fields, name) end
        return before[name]
      end,
    }
  end
  function own.__setfield(self, name, value)
    local list = list_behind(getmetatable(self).__index, name)
    if list then
      list:right_inverse(value)
      return true
    end
    return owner.__setfield and owner.__setfield(self, name, value)
  end
  return own
end

local function change_class(module, owner)
  class.change(module, owner)
  hooks.refresh(getmetatable(module))
end

-- The functions ----------------------------------------------------------------------------------------------------------------------------

local function parametrizations_of(module)
  local fields = getmetatable(module).__index
  local all = rawget(fields, "parametrizations")
  return class.is_instance(all) and class.isinstance(all, container.ModuleDict) and all or nil
end

local function is_parametrized(module, name)
  local all = parametrizations_of(module)
  if not all then return false end
  if name == nil then return #all > 0 end
  return getmetatable(all).kind[name] == "module"
end

declare("is_parametrized", {
  doc = "Has the module a parametrized tensor, or one of that name?",
  takes = "module:module, tensor_name:string?",
  call = is_parametrized,
  example = "> nn.utils.parametrize.is_parametrized(nn.Linear(1, 1))\nfalse",
})

-- A further function after those that a tensor has.
local function append(module, name, parametrization, unsafe)
  local list = parametrizations_of(module)[name]
  if not unsafe then
    local before = module[name]
    local after = parametrization(before)
    check_same("register_parametrization", after, before, "a parametrization")
    local back = parametrization.right_inverse and autograd.no_grad(function() return parametrization:right_inverse(after) end)
    if back then check_same("register_parametrization", back, before, "right_inverse of a further parametrization") end
  end
  list:append(parametrization)
  list.unsafe = list.unsafe or unsafe
end

declare("register_parametrization", {
  doc = "Makes a tensor of a module a function of what is stored: parametrization, a module, gets the stored tensor and returns the tensor; its method "
    .. "right_inverse(t), if it has one, gives what is to be stored for t. A further call adds a function after the former ones. unsafe: dtype and shape may change, "
    .. "and nothing is checked. Returns the module.",
  takes = "module:module, tensor_name:string, parametrization:module, *, unsafe:bool=false",
  call = function(module, name, parametrization, unsafe)
    parametrization:train(module.training)
    if is_parametrized(module, name) then
      append(module, name, parametrization, unsafe)
      return module
    end
    local inner = getmetatable(module)
    local kind = inner.kind[name]
    local original = rawget(inner.__index, name)
    if (kind ~= "parameter" and kind ~= "buffer") or original == nil then
      local names = {}
      for _, other in ipairs({"parameter", "buffer"}) do
        for _, known in ipairs(inner[other]) do names[#names + 1] = known end
      end
      fail(("register_parametrization: %s does not have a parameter, a buffer, or a parametrized element with name '%s'%s"):format(
        module.class.__name, name, arguments.hint(name, names)))
    end
    local list = List({parametrization}, original, unsafe)
    if not is_parametrized(module) then
      module.parametrizations = container.ModuleDict()
      change_class(module, parametrized(module.class))
    end
    internals.forget(inner, name)
    module.parametrizations[name] = list
    return module
  end,
  example = "> Symmetric = nn.Module:subclass(\"Symmetric\")\n> function Symmetric:forward(x) return x:triu() + x:triu(1):t() end\n"
    .. "> m = nn.utils.parametrize.register_parametrization(nn.Linear(3, 3), \"weight\", Symmetric())\n> lt.equal(m.weight, m.weight:t())\ntrue",
})

declare("remove_parametrizations", {
  doc = "Takes the functions of a tensor off: it keeps its present value, or, with leave_parametrized = false, that of what was stored. Returns the module.",
  takes = "module:module, tensor_name:string, leave_parametrized:bool=true",
  call = function(module, name, leave)
    if not is_parametrized(module, name) then fail(("remove_parametrizations: module %s does not have a parametrization on %s"):format(tostring(module), name)) end
    local all = parametrizations_of(module)
    local list = all[name]
    local t
    if list.is_tensor then
      t = list.original
      if leave then t.data = autograd.no_grad(function() return list():contiguous() end) end
    elseif leave then
      local value = list()
      t = value.requires_grad and Parameter(value:detach()) or value
    else
      fail("remove_parametrizations: leave_parametrized = false is not possible for a tensor that is parametrized in terms of several tensors")
    end
    internals.forget(getmetatable(all), name)
    if #all == 0 then
      module.parametrizations = nil
      change_class(module, class.parent_of(module.class))
    end
    register(module, name, t)
    return module
  end,
  example = "> m = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))\n> m = nn.utils.parametrize.remove_parametrizations(m, \"weight\")\n"
    .. "> m\nLinear(in_features=3, out_features=2, bias=True)",
})

declare("type_before_parametrizations", {
  doc = "The class that a module had before it was parametrized.",
  takes = "module:module",
  call = function(module) return is_parametrized(module) and class.parent_of(module.class) or module.class end,
  example = "> m = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))\n> nn.utils.parametrize.type_before_parametrizations(m) == nn.Linear\ntrue",
})

declare("cached", {
  doc = "Calls fn; meanwhile each parametrized tensor is computed once. Returns what fn returns.",
  takes = "fn:function",
  several = true,
  call = function(fn)
    caching = caching + 1
    return protect.call(function()
      caching = caching - 1
      if caching == 0 then cache = {} end
    end, fn)
  end,
  example = "> m = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))\n> nn.utils.parametrize.cached(function() return m.weight == m.weight end), m.weight == m.weight\n"
    .. "true\nfalse",
})

-- Gives one tensor of `to` the functions of the tensor of that name of `from`, and what they are computed from.
local function transfer(from, to, name)
  local list = parametrizations_of(from)[name]
  if to[name] == nil then to[name] = Parameter(from[name]:detach()) end
  for _, m in ipairs(list:children()) do parametrize.register_parametrization(to, name, m) end
  local new = parametrizations_of(to)[name]
  for _, kind in ipairs({"parameter", "buffer"}) do
    local inner = getmetatable(list)
    for _, original in ipairs(inner[kind]) do
      internals.register(new, kind, original, inner.__index[original])
    end
  end
end

declare("transfer_parametrizations_and_params", {
  doc = "Gives a module the parametrizations of another one, all or those of one tensor, together with what they are computed from, which both share then. Returns to_module.",
  takes = "from_module:module, to_module:module, tensor_name:string?",
  call = function(from, to, name)
    if not is_parametrized(from, name) then return to end
    if name then
      transfer(from, to, name)
    else
      for _, key in ipairs(parametrizations_of(from):keys()) do transfer(from, to, key) end
    end
    return to
  end,
})

return arguments.strict(parametrize, "nn.utils.parametrize")
