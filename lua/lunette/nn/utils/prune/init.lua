--- nn.utils.prune: parameters without those elements that matter least.

local each = require("lunette.each")
local arguments = require("lunette.arguments")
local class = require("lunette.class")
local create = require("lunette.create")
local define = require("lunette.define")
local derived = require("lunette.nn.derived")
local gradients = require("lunette.nn.utils.gradients")
local base = require("lunette.nn.utils.prune.method")

local fail, describe, is_tensor = arguments.fail, arguments.describe, arguments.is_tensor
local ipairs, next, select, tostring, type = ipairs, next, select, tostring, type

local prune = {BasePruningMethod = base.Method, PruningContainer = base.Container}
for name, owner in each(require("lunette.nn.utils.prune.ways")) do prune[name] = owner end

local declare = define.into(prune, "nn.utils.prune")

-- A function that applies the method of a class and returns the module.
local function define_function(name, owner, takes, doc, example)
  declare(name, {
    doc = doc, takes = "module:module, name:string" .. (takes ~= "" and ", " .. takes or ""), example = example,
    call = function(module, ...)
      prune[owner]:apply(module, ...)
      return module
    end,
  })
end

local AMOUNT = " amount: below 1 the fraction, from 1 the number of them. Returns the module."

define_function("identity", "Identity", "", "Prunes nothing, but gives the parameter a mask, of ones. Returns the module.")
define_function("random_unstructured", "RandomUnstructured", "amount:number", "Prunes elements of a parameter at random." .. AMOUNT)
define_function("l1_unstructured", "L1Unstructured", "amount:number, importance_scores:tensor?",
  "Prunes the elements of a parameter that are nearest to 0, or have the least importance_scores." .. AMOUNT,
  "> m = nn.utils.prune.l1_unstructured(nn.Linear(2, 3), \"weight\", 4)\n> m.weight_mask:sum(), m.weight:ne(0):sum()\ntensor(2.)\ntensor(2)")
define_function("random_structured", "RandomStructured", "amount:number, dim:int", "Prunes channels of a parameter along dim at random." .. AMOUNT)
define_function("ln_structured", "LnStructured", "amount:number, n:number|enum(fro|nuc), dim:int, importance_scores:tensor?",
  "Prunes the channels of a parameter along dim whose n-norm, or that of importance_scores, is least; n: a number, plus or minus math.huge, \"fro\", or \"nuc\" for "
    .. "matrices." .. AMOUNT,
  "> m = nn.utils.prune.ln_structured(nn.Conv2d(2, 4, 3), \"weight\", 0.5, 1, 0)\n> m.weight_mask:sum({1, 2, 3}):ne(0):sum()\ntensor(2)")
define_function("custom_from_mask", "CustomFromMask", "mask:tensor", "Prunes a parameter by a mask of its shape, 0 where an element goes. Returns the module.",
  "> m = nn.utils.prune.custom_from_mask(nn.Linear(3, 1), \"bias\", lt.tensor{0})\n> m.bias:eq(0)\ntensor([True])")

declare("remove", {
  doc = "Ends the pruning of a parameter: its elements stay pruned, the names name_orig and name_mask go. Returns the module.",
  takes = "module:module, name:string",
  call = function(module, name)
    local method = derived.find(module, base.Method, name)
    if not method then fail(("remove: parameter '%s' of module %s has to be pruned before pruning can be removed"):format(name, tostring(module))) end
    method:remove(module)
    return module
  end,
  example = "> m = nn.utils.prune.l1_unstructured(nn.Linear(2, 3), \"weight\", 4)\n> lt.keys(nn.utils.prune.remove(m, \"weight\"):state_dict())[2]\nweight",
})

declare("is_pruned", {
  doc = "Is a parameter of the module, or of one below it, pruned?",
  takes = "module:module",
  call = function(module)
    for m in module:modules() do
      if derived.find(m, base.Method) then return true end
    end
    return false
  end,
  example = "> nn.utils.prune.is_pruned(nn.Linear(2, 3))\nfalse",
})

declare("compact", {
  doc = "A copy of a model without the channels of linear layers and convolutions that pruning left empty, and a report, which prints: before and after {parameters, macs, "
    .. "seconds}, removed {path, channels, of}, dense {path, reason}. A channel goes when all weights that make it are 0, or all that use it; what it still gives, the "
    .. "constant of its bias, goes into the biases behind. example: a tensor, or an array of the arguments of a call. What gets which channels is found by running the model "
    .. "with changed ones; where they cannot be told apart the layer stays as it is, and the report says why. Pruning becomes permanent in the copy, which computes what "
    .. "the model in evaluation does.",
  takes = "model:module, example:any",
  several = true,
  call = function(model, example) return require("lunette.nn.utils.prune.compact")(model, example) end,
  example = "> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))\n> pruned = nn.utils.prune.ln_structured(net[0], \"weight\", 6, 2, 0)\n"
    .. "> small, report = nn.utils.prune.compact(net, lt.randn(1, 4))\n> small\nSequential(\n  (0): Linear(in_features=4, out_features=2, bias=True)\n  (1): ReLU()\n"
    .. "  (2): Linear(in_features=2, out_features=2, bias=True)\n)\n> report.before.parameters, report.after.parameters\n58\n16",
})

-- Across parameters ------------------------------------------------------------------------------------------------------------------------

local OWNER = "global_unstructured"

local function check_entry(entry, what, with_scores)
  local good = type(entry) == "table" and arguments.is_module(entry[1]) and type(entry[2]) == "string" and (not with_scores or is_tensor(entry[3]))
  if not good then fail(("%s: an entry of %s must be {module, \"weight\"%s}, not %s"):format(OWNER, what, with_scores and ", scores" or "", describe(entry))) end
  if not is_tensor(entry[1][entry[2]]) then fail(("%s: %s has no parameter '%s'"):format(OWNER, entry[1].class.__name, entry[2])) end
end

-- What is compared of each parameter: what importance_scores say for it, or itself.
local function scores_of(parameters, importance)
  local out = {}
  for i, entry in ipairs(parameters) do
    out[i] = entry[1][entry[2]]
    for _, given in ipairs(importance) do
      if given[1] == entry[1] and given[2] == entry[2] then out[i] = given[3] end
    end
    if out[i].shape ~= entry[1][entry[2]].shape then
      fail(("%s: importance_scores of '%s' have the shape %s, the parameter %s"):format(OWNER, entry[2], tostring(out[i].shape),
        tostring(entry[1][entry[2]].shape)))
    end
  end
  return out
end

local function masks_of(parameters)
  local out = {}
  for i, entry in ipairs(parameters) do
    local mask = entry[1][entry[2] .. "_mask"]
    out[i] = mask ~= nil and mask or create.ones_like(entry[1][entry[2]]):detach()
  end
  return out
end

local function make_method(pruning_method, options)
  if not class.is_class(pruning_method) or not class.descends(pruning_method, base.Method) then
    fail(("%s: pruning_method must be a class of pruning, such as prune.L1Unstructured, not %s"):format(OWNER, describe(pruning_method)))
  end
  local method
  if next(options) ~= nil then method = pruning_method(options) else method = pruning_method() end
  if method.PRUNING_TYPE ~= "unstructured" then
    fail(("%s: only \"unstructured\" PRUNING_TYPE supported for the pruning_method; found %s of type \"%s\""):format(OWNER, method.class.__name, method.PRUNING_TYPE))
  end
  method._tensor_name = "temp"
  return method
end

-- Names given in `options` beside those of the function itself.
local function split(options)
  local own, rest = {}, {}
  local known = {parameters = true, pruning_method = true, importance_scores = true}
  for key, value in each(options) do
    if known[key] then own[key] = value else rest[key] = value end
  end
  return own, rest
end

--- Prunes several parameters as if they were one vector: global_unstructured(parameters, pruning_method, {names}). parameters: an array of {module, "weight"};
--- pruning_method: a class such as prune.L1Unstructured, whose constructor takes the names, {amount = 0.2}; importance_scores: an array of {module, "weight", scores}
--- for what is compared in the place of some of the parameters.
function prune.global_unstructured(parameters, pruning_method, ...)
  local options = (...)
  if select("#", ...) > 1 or options ~= nil and arguments.form_of(options) ~= "names" then fail(OWNER .. ": what goes to the method is given by name: {amount = 0.2}") end
  if arguments.form_of(parameters) == "names" and pruning_method == nil then options = parameters end
  local own, names = split(options or {})
  if options ~= parameters then own.parameters, own.pruning_method = parameters, pruning_method end
  local importance = own.importance_scores or {}
  if type(own.parameters) ~= "table" or #own.parameters == 0 then
    fail(("%s: parameters must be an array of {module, \"weight\"}, not %s"):format(OWNER, describe(own.parameters)))
  end
  if type(importance) ~= "table" then fail(("%s: importance_scores must be an array of {module, \"weight\", scores}, not %s"):format(OWNER, describe(importance))) end
  for _, entry in ipairs(own.parameters) do check_entry(entry, "parameters") end
  for _, entry in ipairs(importance) do check_entry(entry, "importance_scores", true) end
  local method = make_method(own.pruning_method, names)
  local container = base.Container(method)
  local mask = container:compute_mask(gradients.parameters_to_vector(scores_of(own.parameters, importance)),
    gradients.parameters_to_vector(masks_of(own.parameters)))
  local at = 0
  for _, entry in ipairs(own.parameters) do
    local p = entry[1][entry[2]]
    prune.custom_from_mask(entry[1], entry[2], mask:narrow(0, at, p:numel()):reshape(p.shape))
    at = at + p:numel()
  end
end

return arguments.strict(prune, "nn.utils.prune")
