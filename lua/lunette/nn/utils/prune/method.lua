--- nn.utils.prune: what every way of pruning is (BasePruningMethod), and several of them for one parameter, one after another (PruningContainer).
--
-- A pruned parameter `name` of a module is the parameter name_orig times the buffer name_mask, computed before every call (nn/derived.lua).

local each = require("lunette.each")
local arguments = require("lunette.arguments")
local catalog = require("lunette.catalog")
local class = require("lunette.class")
local create = require("lunette.create")
local derived = require("lunette.nn.derived")
local internals = require("lunette.nn.internals")

local fail, describe, is_tensor = arguments.fail, arguments.describe, arguments.is_tensor
local getmetatable, ipairs, next, pcall, error, select, type, unpack = getmetatable, ipairs, next, pcall, error, select, type, unpack

local Method = class.define("nn.utils.prune.BasePruningMethod", {
  parent = derived.Method,
  doc = "The class above all ways of pruning: `local Odd = prune.BasePruningMethod:subclass(\"Odd\")`, its PRUNING_TYPE (\"unstructured\": chooses among the elements that "
    .. "are left, \"structured\": among the channels along `dim` that are left, \"global\": among all) and Odd:compute_mask(t, default_mask).",
  example = "> prune = nn.utils.prune\n> Odd = prune.BasePruningMethod:subclass(\"Odd\")\n> Odd.PRUNING_TYPE = \"global\"\n"
    .. "> function Odd:compute_mask(t, mask) mask = mask:clone() mask[\"1::2\"] = 0 return mask end\n> m = nn.Linear(1, 1)\n> m.scale = nn.Parameter(lt.ones(5))\n"
    .. "> applied = Odd:apply(m, \"scale\")\n> m.scale:detach()\ntensor([1., 0., 1., 0., 1.])",
})

Method.PRUNING_TYPE = "unstructured"

local function check_method(self, name)
  if class.isinstance(self, Method) then return end
  fail(("%s is a method, called with a colon: method:%s(...); its first value is %s"):format(name, name, describe(self)))
end

local parse_mask = arguments.signature("compute_mask", "t:tensor, default_mask:tensor")

-- What compute_mask is called with: two tensors of one shape.
local function check_mask_call(self, ...)
  check_method(self, "compute_mask")
  local t, default_mask = parse_mask(...)
  if t.shape ~= default_mask.shape then
    fail(("compute_mask: default_mask of shape %s must have the shape of t, %s"):format(tostring(default_mask.shape), tostring(t.shape)))
  end
  return t, default_mask
end

--- The mask of a tensor, of its shape: 1 where an element stays. t: how important the elements are; default_mask: what was pruned before. Subclasses write it.
function Method:compute_mask(t, default_mask) -- luacheck: no unused args
  check_method(self, "compute_mask")
  fail(("%s has no compute_mask; write function %s:compute_mask(t, default_mask)"):format(self.class.__name, self.class.__name))
end

local function check_name(self, owner, module)
  if not arguments.is_module(module) then fail(("%s: a module is needed, not %s"):format(owner, describe(module))) end
  local name = self._tensor_name
  if name == nil then fail(("%s: the module %s has to be pruned by this method first"):format(owner, tostring(module))) end
  if not is_tensor(module[name .. "_mask"]) or not is_tensor(module[name .. "_orig"]) then
    fail(("%s: '%s' of the module %s is not pruned"):format(owner, name, tostring(module)))
  end
  return name
end

--- The original parameter of a module times its mask.
function Method:apply_mask(module)
  check_method(self, "apply_mask")
  local name = check_name(self, "apply_mask", module)
  local orig = module[name .. "_orig"]
  return module[name .. "_mask"]:to(orig.dtype) * orig
end

Method._compute = Method.apply_mask

local function check_scores(scores, t, what)
  if scores ~= nil and scores.shape ~= t.shape then
    fail(("prune: importance_scores should have the same shape as %s, got %s vs %s"):format(what, tostring(scores.shape), tostring(t.shape)))
  end
  return scores ~= nil and scores or t
end

-- The mask that a method computes, checked.
local function mask_of(method, t, default_mask)
  local mask = method:compute_mask(t, default_mask)
  if not is_tensor(mask) or mask.shape ~= t.shape then
    fail(("prune: compute_mask of %s must return a mask of shape %s, not %s"):format(method.class.__name, tostring(t.shape), describe(mask)))
  end
  return mask
end

local parse_prune = arguments.signature("prune", "t:tensor, default_mask:tensor?, importance_scores:tensor?")

--- A pruned copy of a tensor: prune(t, default_mask, importance_scores). default_mask: what was pruned before, ones when left out; importance_scores: what is
--- compared in the place of t.
function Method:prune(...)
  check_method(self, "prune")
  local t, default_mask, scores = parse_prune(...)
  scores = check_scores(scores, t, "tensor t")
  if default_mask == nil then default_mask = create.ones_like(t) end
  return t * mask_of(self, scores, default_mask):to(t.dtype)
end

--- Ends the pruning of the parameter that the method was applied to: its elements stay pruned, the names name_orig and name_mask go. (prune.remove does it by name.)
function Method:remove(module)
  check_method(self, "remove")
  local name = check_name(self, "remove", module)
  local weight, orig = self:apply_mask(module), module[name .. "_orig"]
  derived.detach(self, module)
  local inner = getmetatable(module)
  internals.forget(inner, name .. "_orig")
  internals.forget(inner, name .. "_mask")
  orig.data = weight:detach()
  module:register_parameter(name, orig)
end

-- Several methods --------------------------------------------------------------------------------------------------------------------------

local Container = class.define("nn.utils.prune.PruningContainer", {
  parent = Method,
  doc = "Several ways of pruning one parameter, one after another: what pruning it again makes. Takes methods, or one array of them; #container, container[0].",
  example = "> m = nn.Linear(4, 4)\n> m = nn.utils.prune.l1_unstructured(m, \"weight\", 0.5)\n"
    .. "> container = nn.utils.prune.RandomUnstructured:apply(m, \"weight\", 0.5)\n> #container, m.weight_mask:sum()\n2\ntensor(4.)",
})

function Container:__init(...)
  local methods = {...}
  if #methods == 1 and type(methods[1]) == "table" and not class.is_class(methods[1]) then methods = methods[1] end
  self._pruning_methods = {}
  if #methods > 0 then
    if not class.isinstance(methods[1], Method) then fail("PruningContainer: a method of pruning is needed, not " .. describe(methods[1])) end
    self._tensor_name = methods[1]._tensor_name
  end
  for i = 1, #methods do self:add_pruning_method(methods[i]) end
end

--- Adds a method, which must be for the parameter of the same name.
function Container:add_pruning_method(method)
  check_method(self, "add_pruning_method")
  if not class.isinstance(method, Method) then fail(("add_pruning_method: a method of pruning is needed, not %s"):format(describe(method))) end
  if method._tensor_name ~= self._tensor_name then
    fail(("add_pruning_method: can only add pruning methods acting on the parameter named '%s' to the PruningContainer; found '%s'"):format(
      tostring(self._tensor_name), tostring(method._tensor_name)))
  end
  self._pruning_methods[#self._pruning_methods + 1] = method
end

function Container:__len() return #self._pruning_methods end

function Container:__getitem(index)
  local n = #self._pruning_methods
  if not arguments.is_int(index) or index < -n or index >= n then
    fail(("PruningContainer: index %s is out of range for %d methods (indexes start at 0)"):format(tostring(index), n))
  end
  return self._pruning_methods[index % n + 1]
end

-- The new mask where only elements that are left are chosen from.
local function among_elements(method, t, mask)
  local left = mask:eq(1)
  local partial = mask_of(method, t:masked_select(left), mask:masked_select(left))
  return mask:to(t.dtype):masked_scatter(left, partial:to(t.dtype))
end

-- The new mask where only channels along method.dim that are left are chosen from.
local function among_channels(method, t, mask)
  local n, dim = #t.shape, method.dim
  if not arguments.is_int(dim) then fail(("prune: %s is structured and must have the field `dim`"):format(method.class.__name)) end
  if dim < -n or dim >= n then fail(("prune: dim %d is out of range for a tensor of shape %s"):format(dim, tostring(t.shape))) end
  dim = dim % n
  local others, shape = {}, {}
  for d = 0, n - 1 do
    shape[d + 1] = d == dim and -1 or 1
    if d ~= dim then others[#others + 1] = d end
  end
  local left = (n > 1 and mask:sum(others) or mask):ne(0)
  local index = left:nonzero():reshape(-1)
  local partial = mask_of(method, t:index_select(dim, index), mask:index_select(dim, index))
  return mask:to(t.dtype):masked_fill(left:reshape(shape), 0):index_add(dim, index, partial:to(t.dtype))
end

local ways = {
  unstructured = among_elements, structured = among_channels,
  global = function(method, t, mask) return mask_of(method, t, mask):to(t.dtype) end,
}

--- The mask of the last method, which chooses by its PRUNING_TYPE among what default_mask leaves, together with default_mask.
function Container:compute_mask(...)
  local t, default_mask = check_mask_call(self, ...)
  local method = self._pruning_methods[#self._pruning_methods]
  if not method then fail("PruningContainer: there is no method in it") end
  local way = ways[method.PRUNING_TYPE]
  if not way then fail(("prune: unrecognized PRUNING_TYPE %s of %s"):format(tostring(method.PRUNING_TYPE), method.class.__name)) end
  return way(method, t:detach(), default_mask)
end

-- Applying ---------------------------------------------------------------------------------------------------------------------------------

local function start(method, module, name, scores)
  local p = module[name]
  if not is_tensor(p) or not internals.is_parameter(p) then return derived.rename("prune", module, name) end -- says why not
  local mask = mask_of(method, check_scores(scores, p, ("parameter %s of %s"):format(name, tostring(module))):detach(), create.ones_like(p):detach())
  derived.rename("prune", module, name, name .. "_orig")
  module:register_buffer(name .. "_mask", mask:detach())
  derived.attach(method, module)
  return method
end

-- Adds a method to those that prune the parameter already; when it fails everything is as it was.
local function continue(old, method, module, name, scores)
  local p, mask = module[name], module[name .. "_mask"]
  scores = check_scores(scores, p, ("parameter %s of %s"):format(name, tostring(module))):detach()
  local container = old
  if not class.isinstance(old, Container) then container = Container(old) end
  container:add_pruning_method(method)
  local ok, new_mask = pcall(mask_of, container, scores, mask:clone())
  if not ok then
    container._pruning_methods[#container] = nil
    error(new_mask, 0)
  end
  derived.detach(old, module)
  module:register_buffer(name .. "_mask", new_mask:detach())
  derived.attach(container, module)
  return container
end

--- Prunes a parameter by a method that `make()` makes.
local function attach(owner, module, name, scores, make)
  if not arguments.is_module(module) then fail(("%s:apply: a module is needed, not %s"):format(owner.__name, describe(module))) end
  if type(name) ~= "string" then fail(("%s:apply: the name of a parameter is needed, not %s"):format(owner.__name, describe(name))) end
  local method = make()
  method._tensor_name = name
  local old = derived.find(module, Method, name)
  if old then return continue(old, method, module, name, scores) end
  return start(method, module, name, scores)
end

local function pack(...) return {n = select("#", ...), ...} end

-- Takes the named entries off a table, which then holds what goes to the constructor.
local function taken(options, names)
  local rest = {}
  for key, value in each(options) do rest[key] = value end
  for _, name in ipairs(names) do rest[name] = nil end
  return next(rest) ~= nil and rest or nil
end

function Method.apply(owner, ...)
  if not class.is_class(owner) or not class.descends(owner, Method) then
    fail("apply is a method of a class, called with a colon: prune.L1Unstructured:apply(module, name, amount)")
  end
  local values = pack(...)
  local options, scores = values[values.n], nil
  if arguments.form_of(options) == "names" then
    scores = options.importance_scores
    if values.n == 1 then
      return attach(owner, options.module, options.name, scores, function() return owner(taken(options, {"module", "name", "importance_scores"})) end)
    end
    values[values.n] = taken(options, {"importance_scores"})
  end
  return attach(owner, values[1], values[2], scores, function() return owner(unpack(values, 3, values.n)) end)
end

catalog.add(Method.apply, {
  name = "nn.utils.prune.BasePruningMethod:apply", signature = "module:module, name:string, ..., *, importance_scores:tensor?",
  doc = "A method of the class, called with a colon: prunes the parameter `name` of a module by a new method of the class; the further arguments and names are the "
    .. "constructor's, importance_scores is what is compared in the place of the parameter. Returns the method, or the PruningContainer it was added to.",
})

--- Gives a class an `apply` whose arguments after module and name, `takes`, are checked; all but importance_scores go to the constructor.
local function define_apply(owner, takes)
  local text = "module:module, name:string" .. (takes ~= "" and ", " .. takes or "")
  local parse, scored = arguments.signature(owner.__name .. ":apply", text), takes:find("importance_scores", 1, true)
  owner.apply = function(self, ...)
    if not class.is_class(self) then fail(("apply is a method of a class, called with a colon: prune.%s:apply(...)"):format(owner.__name)) end
    local values, scores = pack(parse(...)), nil
    if scored then scores, values.n = values[values.n], values.n - 1 end
    return attach(self, values[1], values[2], scores, function() return self(unpack(values, 3, values.n)) end)
  end
  catalog.add(owner.apply, {name = "nn.utils.prune." .. owner.__name .. ":apply", signature = text, doc = "Prunes the parameter `name` of a module."})
end

return {Method = Method, Container = Container, define_apply = define_apply, check_mask_call = check_mask_call}
