--- lt.func, which nn.utils.stateless is too: a module called with other parameters and buffers than its own.

local each = require("lunette.each")
local arguments = require("lunette.arguments")
local define = require("lunette.define")
local swapped = require("lunette.nn.swapped")

local fail, is_tensor, describe = arguments.fail, arguments.is_tensor, arguments.describe
local ipairs, rawequal, rawget, type, unpack = ipairs, rawequal, rawget, type, unpack

local func = {}
local declare = define.into(func, "lt.func")

-- One map of the tensors in one map or in an array of them.
local function merged(given)
  local out = {}
  local maps = given[1] ~= nil and given or {given}
  for _, map in ipairs(maps) do
    if type(map) ~= "table" then fail(("functional_call: an array of maps of tensors is needed, one entry is %s"):format(describe(map))) end
    for name, t in each(map) do
      if type(name) ~= "string" or not is_tensor(t) then
        fail(("functional_call: parameters and buffers are tensors by name, '%s' is %s"):format(tostring(name), describe(t)))
      end
      if out[name] ~= nil and #maps > 1 then fail(("functional_call: '%s' appeared in multiple dictionaries; behavior of functional call is ambiguous"):format(name)) end
      out[name] = t
    end
  end
  return out
end

-- Adds what is given for one name of a shared tensor under its other names.
local function tie(places, names, given)
  local groups = {}
  for _, name in ipairs(names) do
    local id = rawget(places[name][1], places[name][2]).id
    groups[id] = groups[id] or {}
    table.insert(groups[id], name)
  end
  for _, group in each(groups) do
    local value
    for _, name in ipairs(group) do
      local other = given[name]
      if other ~= nil and value ~= nil and other.id ~= value.id then
        fail(("functional_call got multiple values for keys '%s', which are tied. Consider using tie_weights = false"):format(table.concat(group, "', '")))
      end
      value = other ~= nil and other or value
    end
    for _, name in ipairs(group) do given[name] = value end
  end
end

local function check_names(module, places, names, given)
  local missing, unexpected, lines = {}, {}, {}
  for _, name in ipairs(names) do
    if given[name] == nil then missing[#missing + 1] = name end
  end
  for name in each(given) do
    if not places[name] then unexpected[#unexpected + 1] = name end
  end
  table.sort(unexpected)
  if #unexpected > 0 then lines[1] = ("\n\tUnexpected key(s): '%s'."):format(table.concat(unexpected, "', '")) end
  if #missing > 0 then lines[#lines + 1] = ("\n\tMissing key(s): '%s'."):format(table.concat(missing, "', '")) end
  if #lines > 0 then fail(("functional_call: error(s) in reparametrizing for %s:%s"):format(module.class.__name, table.concat(lines))) end
end

-- What the module leaves in the places goes back to the caller where he gave one plain table: a buffer may have been replaced.
local function hand_back(given, after)
  for name in each(given) do
    if is_tensor(given[name]) and after[name] ~= nil and not rawequal(given[name], after[name]) then given[name] = after[name] end
  end
end

local function values_of(args, kwargs)
  local values = {n = 0}
  if type(args) == "table" and not arguments.is_size(args) then
    values.n = args.n or #args
    for i = 1, values.n do values[i] = args[i] end
  elseif args ~= nil then
    values.n, values[1] = 1, args
  end
  if kwargs then values.n, values[values.n + 1] = values.n + 1, kwargs end
  return values
end

declare("functional_call", {
  doc = "Calls a module with the given parameters and buffers, tensors by name as state_dict names them, in the place of its own, which it has again afterwards. "
    .. "parameter_and_buffer_dicts: a map, or an array of maps; args: one argument of the call or an array of them; kwargs: arguments by name. tie_weights: what is "
    .. "given for one name of a shared tensor counts for all its names; strict: every tensor must be given, and no other name.",
  takes = "module:module, parameter_and_buffer_dicts:map, args:any?, kwargs:map?, *, tie_weights:bool=true, strict:bool=false",
  several = true,
  call = function(module, given, args, kwargs, tie_weights, strict)
    local places, names = swapped.places_of(module)
    local tensors = merged(given)
    if tie_weights then tie(places, names, tensors) end
    if strict then check_names(module, places, names, tensors) end
    local values = values_of(args, kwargs)
    return swapped.call(module, places, tensors, function(after) hand_back(given, after) end, unpack(values, 1, values.n))
  end,
  example = "> net = nn.Linear(2, 1)\n> lt.func.functional_call(net, {weight = lt.ones(1, 2), bias = lt.zeros(1)}, lt.tensor{{3, 4}})\ntensor([[7.]])",
})

return arguments.strict(func, "lt.func")
