--- What all optimizers share: parameter groups, zero_grad, state dicts.
--
-- A step is one C call for each group. It works on arrays of pointers that are kept between steps: `arrays_of` makes them, the optimizer's
-- `prepare` fills in what its rule needs. The state of a parameter is a plain table in `opt.state`, by the parameter's id.

local arguments = require("lunette.arguments")
local base = require("lunette.ffi")
local object = require("lunette.nn.object")
local owned = require("lunette.nn.owned")
local ffi = require("ffi")

local fail, describe = arguments.fail, arguments.describe

local Optimizer = object.class("Optimizer")
Optimizer.subclass = object.subclass

-- Groups ---------------------------------------------------------------------------------------------------------------------------------

local function check_params(name, params)
  if base.is_tensor(params) then params = {params} end
  if type(params) ~= "table" then fail(("%s: params must be an array of tensors or of groups, not %s"):format(name, describe(params))) end
  if #params == 0 then fail(("%s: the array of parameters is empty"):format(name)) end
  for i = 1, #params do
    if not base.is_tensor(params[i]) then fail(("%s: parameter %d must be a tensor, not %s"):format(name, i, describe(params[i]))) end
    if not params[i].is_leaf then
      fail(("%s: parameter %d is no leaf, it was computed by %s"):format(name, i, tostring(params[i].grad_fn)))
    end
  end
  return params
end

--- Adds a table with `params` and, by name, what differs from the defaults.
function Optimizer:add_param_group(group)
  local name = self.class.__name
  if type(group) ~= "table" or group.params == nil then
    fail(("%s: a group is a table with params, not %s"):format(name, describe(group)))
  end
  local new, names = {params = check_params(name, group.params)}, {"params"}
  for key, value in pairs(self.defaults) do new[key], names[#names + 1] = value, key end
  for key, value in pairs(group) do
    if key ~= "params" then
      if self.defaults[key] == nil and key ~= "initial_lr" then
        fail(("%s: a group has no option '%s'%s"):format(name, tostring(key), arguments.hint(key, names)))
      end
      new[key] = value
    end
  end
  for _, p in ipairs(new.params) do
    if self.known[p.id] then fail(("%s: a parameter of shape %s stands in more than one place"):format(name, tostring(p.shape))) end
    self.known[p.id] = true
  end
  self:check_group(new)
  self.param_groups[#self.param_groups + 1] = new
  self.all = nil
end

--- Overridden to check the options of a group.
function Optimizer.check_group() end

--- defaults: the options of groups that do not name their own.
function Optimizer:setup(params, defaults)
  self.defaults, self.param_groups, self.state, self.known = defaults, {}, {}, {}
  self.arrays = setmetatable({}, {__mode = "k"})
  local first = type(params) == "table" and params[1]
  if type(first) == "table" then
    for _, group in ipairs(params) do self:add_param_group(group) end
  else
    self:add_param_group({params = check_params(self.class.__name, params)})
  end
end

--- An option of a group that must be a number of at least `least`.
function Optimizer:check_number(group, key, least)
  local value = group[key]
  local good = type(value) == "number" and value >= least
  if not good then
    fail(("%s: %s must be a number of at least %s, not %s"):format(self.class.__name, key, tostring(least), describe(value)))
  end
end

-- Steps ----------------------------------------------------------------------------------------------------------------------------------

--- The arrays of a group: n, params, and those that the optimizer adds, all NULL at first.
function Optimizer:arrays_of(group, names)
  local arrays = self.arrays[group]
  if arrays and arrays.n == #group.params then return arrays end
  arrays = {n = #group.params, missing = #group.params, params = ffi.new("ln_tensor *[?]", #group.params)}
  for i, p in ipairs(group.params) do arrays.params[i - 1] = p._p end
  for _, name in ipairs(names) do arrays[name] = ffi.new("ln_tensor *[?]", arrays.n) end
  self.arrays[group] = arrays
  return arrays
end

--- Does entry i of the arrays have a gradient?
function Optimizer.has_grad(arrays, i) return arrays.params[i].grad ~= nil end

--- Runs `closure`, if any, and hands on what it returns; then lets each group step.
function Optimizer:step(closure)
  local loss
  if closure ~= nil then
    if type(closure) ~= "function" then fail(("%s: step takes a function, not %s"):format(self.class.__name, describe(closure))) end
    loss = closure()
  end
  for _, group in ipairs(self.param_groups) do self:step_group(group) end
  return loss
end

local parse_zero = arguments.signature("zero_grad", "set_to_none:bool=false")

local function all_params(self)
  if self.all then return self.all end
  local list = {}
  for _, group in ipairs(self.param_groups) do
    for _, p in ipairs(group.params) do list[#list + 1] = p end
  end
  self.all = {n = #list, list = list, params = ffi.new("ln_tensor *[?]", #list)}
  for i, p in ipairs(list) do self.all.params[i - 1] = p._p end
  return self.all
end

--- Fills all gradients with zeros, or drops them.
function Optimizer:zero_grad(...)
  local set_to_none = parse_zero(...)
  local all = all_params(self)
  base.check(base.C.ln_zero_grad(all.params, all.n, set_to_none))
end

-- State ----------------------------------------------------------------------------------------------------------------------------------

--- {state = {[place] = ...}, param_groups = {...}}: parameters are named by their place over all groups, from 0.
function Optimizer:state_dict()
  local out, place = {state = {}, param_groups = {}}, 0
  for g, group in ipairs(self.param_groups) do
    local copy = {}
    for key, value in pairs(group) do copy[key] = value end
    copy.params = {}
    for i, p in ipairs(group.params) do
      copy.params[i] = place
      if self.state[p.id] then out.state[place] = self.state[p.id] end
      place = place + 1
    end
    out.param_groups[g] = copy
  end
  return out
end

local function copy_state(entry, p)
  local copy = {}
  for key, value in pairs(entry) do
    copy[key] = value
    if base.is_tensor(value) then copy[key] = owned(value:detach():to(p.device):to(p.dtype):clone()) end
  end
  return copy
end

local function check_state(self, state_dict)
  local name = self.class.__name
  if type(state_dict) ~= "table" or type(state_dict.param_groups) ~= "table" or type(state_dict.state) ~= "table" then
    fail(("%s: load_state_dict takes what state_dict returned, not %s"):format(name, describe(state_dict)))
  end
  local saved, own = state_dict.param_groups, self.param_groups
  if #saved ~= #own then fail(("%s: the state dict has %d parameter groups, the optimizer %d"):format(name, #saved, #own)) end
  for g = 1, #own do
    if #saved[g].params ~= #own[g].params then
      fail(("%s: group %d of the state dict has %d parameters, the optimizer's %d"):format(name, g, #saved[g].params, #own[g].params))
    end
  end
end

--- Takes over options and state; parameters are matched by their place.
function Optimizer:load_state_dict(state_dict)
  check_state(self, state_dict)
  self.state, self.arrays = {}, setmetatable({}, {__mode = "k"})
  for g, group in ipairs(self.param_groups) do
    local saved = state_dict.param_groups[g]
    for key, value in pairs(saved) do
      if key ~= "params" then group[key] = value end
    end
    for i, p in ipairs(group.params) do
      local entry = state_dict.state[saved.params[i]]
      if entry then self.state[p.id] = copy_state(entry, p) end
    end
  end
end

local function group_lines(group, g)
  local names, lines = {}, {("Parameter Group %d"):format(g - 1)}
  for key in pairs(group) do
    if key ~= "params" then names[#names + 1] = key end
  end
  table.sort(names)
  local repr = require("lunette.nn.repr")
  for _, key in ipairs(names) do lines[#lines + 1] = ("    %s: %s"):format(key, repr.value(group[key])) end
  return table.concat(lines, "\n")
end

function Optimizer:__repr()
  local lines = {}
  for g, group in ipairs(self.param_groups) do lines[g] = group_lines(group, g) end
  return ("%s (\n%s\n)"):format(self.class.__name, table.concat(lines, "\n\n"))
end

return Optimizer
