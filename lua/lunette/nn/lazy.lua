--- Lazy modules: their parameters have no shape before the first call, which gives it from the input and makes the module one of the full class.
--
-- Of a lazy form of a layer everything follows from the full class: the constructor without its first argument, which counts what comes in, and the tensors
-- that have a shape, uninitialised. What is said here is where that count stands in an input.

local each = require("lunette.each")
local arguments = require("lunette.arguments")
local base = require("lunette.ffi")
local catalog = require("lunette.catalog")
local class = require("lunette.class")
local create = require("lunette.create")
local declare = require("lunette.nn.declare")
local define = require("lunette.define")
local derive = require("lunette.derive")
local internals = require("lunette.nn.internals")
local parameters = require("lunette.nn.parameter")

local Layer, Module, fail = declare.Layer, internals.Module, arguments.fail
local ipairs, next, rawset, unpack = ipairs, next, rawset, unpack

local lazy = {}

-- Uninitialised tensors --------------------------------------------------------------------------------------------------------------------

-- A class of tensors that `make` makes without elements; `materialize` is what scripts call then.
local function uninitialized(name, takes, kind, make)
  local owner = class.define("nn." .. name, {
    doc = ("A %s that has no shape yet: t:materialize(shape) gives it one and makes it a plain %s. Until then operators refuse it."):format(kind, kind),
    takes = takes,
  })
  function owner.__new(_, ...)
    local flag, device, dtype = owner.__parse(...)
    return internals.set_uninitialized(make(create.empty({0}, {dtype = dtype or "float32", device = device}), flag))
  end
  owner.__is = function(x) return internals.is_uninitialized(x) and internals.is_parameter(x) == (kind == "parameter") end
  lazy[name] = owner
end

uninitialized("UninitializedParameter", "requires_grad:bool=true, device:device?, dtype:dtype?", "parameter", parameters.Parameter)
uninitialized("UninitializedBuffer", "requires_grad:bool=false, device:device?, dtype:dtype?, *, persistent:bool=true", "buffer", function(data, requires_grad)
  return parameters.Buffer(data):requires_grad_(requires_grad)
end)

-- What lazy classes share --------------------------------------------------------------------------------------------------------------------

local LazyModuleMixin = Module:subclass("LazyModuleMixin")
catalog.add(LazyModuleMixin, {
  name = "nn.LazyModuleMixin",
  doc = "The class above lazy modules of one's own, which give their uninitialised parameters a shape in initialize_parameters(self, ...), called before forward, "
    .. "with the same values, at the first call. The module then is one of `cls_to_become`, a field of the class, if there is one.",
  signature = "",
})

local method = define.methods(LazyModuleMixin, "nn.LazyModuleMixin")

local function has_uninitialized(self)
  local inner = internals.of(self, "has_uninitialized_params")
  for _, kind in ipairs({"parameter", "buffer"}) do
    for _, name in ipairs(inner[kind]) do
      if internals.is_uninitialized(inner.__index[name]) then return true end
    end
  end
  return false
end

method("has_uninitialized_params", {doc = "Does the module itself have a parameter or buffer without a shape?", call = has_uninitialized})

method("initialize_parameters", {
  doc = "Gives the parameters their shapes; it gets what forward is called with. A class of one's own defines it.",
  takes = "input:any...",
  call = function(self)
    fail(("%s: initialize_parameters is missing; write function %s:initialize_parameters(...)"):format(self.class.__name, self.class.__name))
  end,
})

-- The hook before the first call.
local function infer(self, input, names)
  local values = {unpack(input, 1, input.n)}
  if next(names) then values[input.n + 1] = names end
  self:initialize_parameters(unpack(values, 1, input.n + 1))
  if has_uninitialized(self) then fail(("%s: initialize_parameters left a parameter or buffer without a shape"):format(self.class.__name)) end
  if self.cls_to_become then class.become(self, self.cls_to_become) end
  require("lunette.nn.hooks").take_off(self, "forward_pre", infer)
end

function LazyModuleMixin.__new(owner, ...)
  local self = internals.allocate(owner)
  self:register_forward_pre_hook(infer, {with_kwargs = true})
  owner.__init(self, ...)
  return self
end

lazy.LazyModuleMixin = LazyModuleMixin

-- Lazy forms of layers ---------------------------------------------------------------------------------------------------------------------

-- The declaration of the full class without its first argument; some defaults may be others.
local function without_first(name, full, defaults)
  local params, own = derive.params(full.signature), {}
  local missing = table.remove(params, 1).name
  for key, value in each(full) do own[key] = value end
  for _, param in ipairs(params) do param.tail = defaults[param.name] or param.tail end
  own.name, own.missing, own.signature, own.names, own.fields = name, missing, derive.text(params), {}, {}
  for i = 2, #full.names do own.names[i - 1] = full.names[i] end
  for _, field in ipairs(full.fields) do
    if field ~= missing then own.fields[#own.fields + 1] = field end
  end
  own.parse = arguments.signature(name, own.signature)
  return own
end

-- Sets the argument that was missing; where the layer refuses it, it stays 0.
local function take(self, missing, n)
  self[missing] = n
  if not self.setup then return end
  local ok, message = pcall(self.setup, self, {})
  if ok then return end
  self[missing] = 0
  error(message, 0)
end

-- What the lazy form of a layer has of its own. `count(self, input)` is what comes in.
local function methods_of(full, count)
  local own = {cls_to_become = full, __new = LazyModuleMixin.__new, has_uninitialized_params = has_uninitialized}

  function own:__init(...)
    self[self.__declaration().missing] = 0
    Layer.__init(self, ...)
  end

  local parse
  function own:initialize_parameters(...)
    local declaration = self.__declaration()
    parse = parse or arguments.signature(declaration.name, declaration.input)
    local n = count(self, (parse(...)))
    if has_uninitialized(self) then
      take(self, declaration.missing, n)
      declare.materialize(self, full)
    elseif self[declaration.missing] == 0 then -- a state dict gave the shapes
      self[declaration.missing] = n
    end
  end
  for _, name in ipairs({"initialize_parameters", "has_uninitialized_params"}) do catalog.add(own[name], {name = "nn.LazyModuleMixin:" .. name}) end
  return own
end

-- Declares the lazy form of a layer.
local function declare_lazy(full, count, defaults)
  local name, declaration = "Lazy" .. full.__name, nil
  local owner = full:subclass(name)
  for key, value in each(methods_of(full, count)) do rawset(owner, key, value) end
  function owner.__declaration()
    declaration = declaration or without_first(name, full.__declaration(), defaults or {})
    return declaration
  end
  lazy[name] = catalog.add(owner, {name = "nn." .. name, complete = function(entry)
    local own = owner.__declaration()
    entry.signature = own.signature
    entry.doc = ("nn.%s whose %s is that of the first input it is called with; from then on it is an nn.%s."):format(full.__name, own.missing, full.__name)
  end})
end

local function refuse(self, input, wanted)
  fail(("%s: expected %s input, got shape %s"):format(self.class.__name, wanted, tostring(input.shape)))
end

-- The size of the last dimension.
local function last(self, input)
  if input:dim() == 0 then refuse(self, input, "at least 1D") end
  return input.shape[-1]
end

-- The channels of an input of `n` dimensions beside the batch, which may be missing.
local function channels_of(n)
  return function(self, input)
    local dims = input:dim()
    if dims ~= n and dims ~= n + 1 then refuse(self, input, ("%dD (unbatched) or %dD (batched)"):format(n, n + 1)) end
    return input.shape[dims - n]
  end
end

-- The same of a batch alone: dimension 1; forward says which inputs there are.
local function channels(self, input)
  if input:dim() < 2 then refuse(self, input, "at least 2D") end
  return input.shape[1]
end

local linear, conv, normalization = require("lunette.nn.linear"), require("lunette.nn.conv"), require("lunette.nn.normalization")

declare_lazy(linear.Linear, last)
for n = 1, 3 do
  declare_lazy(conv[("Conv%dd"):format(n)], channels_of(n + 1))
  declare_lazy(conv[("ConvTranspose%dd"):format(n)], channels_of(n + 1))
  declare_lazy(normalization[("BatchNorm%dd"):format(n)], channels)
  declare_lazy(normalization[("InstanceNorm%dd"):format(n)], channels_of(n + 1), {affine = "=true", track_running_stats = "=true"})
end

--- Gives an uninitialised parameter or buffer its shape, and another device or dtype where they are named; the elements are not set.
base.T.materialize = arguments.method("materialize", "self:tensor, shape:shape>=0, device:device?, dtype:dtype?", function(t, shape, device, dtype)
  if not internals.is_uninitialized(t) then fail("materialize: the tensor is no uninitialised parameter or buffer") end
  internals.materialize(t, shape, device, dtype)
end)

return lazy
