--- What all optimizers share: parameter groups, steps, zero_grad, state dicts.
--
-- A step is one C call for each group. Its arrays of pointers are kept, together with the handles behind them, as long as `param_groups` and
-- `state` hold the very same objects, which each step compares; so either may be changed freely in between. The state of a parameter is a plain
-- table in `opt.state`, by the parameter's id.

local each = require("lunette.each")
local arguments = require("lunette.arguments")
local base = require("lunette.ffi")
local catalog = require("lunette.catalog")
local class = require("lunette.class")
local create = require("lunette.create")
local owned = require("lunette.nn.owned")
local ffi = require("ffi")

local fail, describe, is_tensor, pointer, C = arguments.fail, arguments.describe, base.is_tensor, base.pointer, base.C
local type, ipairs, rawequal, setmetatable = type, ipairs, rawequal, setmetatable

local Optimizer = class.define("optim.Optimizer", {
  doc = "What all optimizers share: a subclass calls self:setup(params, defaults) in __init and defines step_group(group).",
})

--- Raises an error on behalf of the class: "SGD: ...".
local function refuse(self, format, ...) fail(("%s: " .. format):format(self.class.__name, ...)) end
Optimizer.refuse = refuse

--- Says that the class takes no row-sparse gradients; `instead`: what else to do.
function Optimizer:refuse_sparse(instead) fail(("%s does not support sparse gradients%s"):format(self.class.__name, instead or "")) end

-- What declared classes may have (rule.lua, matrices.lua).
Optimizer.check, Optimizer.fill, Optimizer.advance, Optimizer.update = false, false, false, false
Optimizer.rows, Optimizer.only_rows, Optimizer.instead = false, false, false

-- Groups ---------------------------------------------------------------------------------------------------------------------------------

-- A parameter, and its name where it comes as {name, parameter}, as named_parameters gives them.
local function unnamed(p)
  if type(p) == "table" and type(p[1]) == "string" then return p[2], p[1] end
  return p
end

--- The parameters of an array or a single tensor, copied; and their names, if all have one.
local function checked_params(self, params)
  if is_tensor(params) then return {params} end
  if type(params) ~= "table" then refuse(self, "params must be an array of tensors or of groups, not %s", describe(params)) end
  if #params == 0 then refuse(self, "the array of parameters is empty") end
  local list, names = {}, {}
  for i = 1, #params do
    local p, name = unnamed(params[i])
    if not is_tensor(p) then refuse(self, "parameter %d must be a tensor, not %s", i, describe(p)) end
    if not p.is_leaf then refuse(self, "parameter %d is no leaf, it was computed by %s", i, tostring(p.grad_fn)) end
    list[i], names[#names + 1] = p, name
  end
  if #names > 0 and #names < #list then refuse(self, "%d of %d parameters have a name; name all or none", #names, #list) end
  return list, names[1] and names or nil
end

local function check_unique(self, new)
  local known = {}
  local function note(p)
    if known[p.id] then refuse(self, "a parameter of shape %s stands in more than one place", tostring(p.shape)) end
    known[p.id] = true
  end
  for _, group in ipairs(self.param_groups) do
    for _, p in ipairs(group.params) do note(p) end
  end
  for _, p in ipairs(new.params) do note(p) end
end

-- What schedules note in a group.
local SCHEDULED = {initial_lr = true, max_lr = true, min_lr = true, max_momentum = true, base_momentum = true, swa_lr = true}

-- The names that a group may hold: the options of the optimizer, `params` and their names, and what schedules note.
local function check_option(self, key)
  local options = self.known_options or self.defaults
  if options[key] ~= nil or SCHEDULED[key] or key == "params" or key == "param_names" then return end
  local names = {"params"}
  for name in each(options) do names[#names + 1] = name end
  table.sort(names)
  refuse(self, "a group has no option '%s'%s", tostring(key), arguments.hint(key, names))
end

--- A group is a plain table that refuses names that no option has.
local function guarded(self, group)
  return setmetatable(group, {
    __newindex = function(to, key, value)
      check_option(self, key)
      rawset(to, key, value)
    end,
  })
end

-- An array has to be a group's own.
local function own(value) return type(value) == "table" and {unpack(value)} or value end

--- Adds a table with `params` and, by name, what differs from the defaults.
function Optimizer:add_param_group(group)
  class.check_self(self, Optimizer, "add_param_group")
  if type(group) ~= "table" or group.params == nil then refuse(self, "a group is a table with params, not %s", describe(group)) end
  local new = {}
  for key, value in each(self.defaults) do new[key] = own(value) end
  for key, value in each(group) do
    check_option(self, key)
    new[key] = own(value)
  end
  new.params, new.param_names = checked_params(self, group.params)
  check_unique(self, new)
  self:check_group(new)
  self.param_groups[#self.param_groups + 1] = guarded(self, new)
end

--- Overridden: lets the parameters of a group take a step.
function Optimizer:step_group() refuse(self, "there is no step_group; write function %s:step_group(group)", self.class.__name) end

--- Overridden to check the options of a group; called when a group is added or loaded and before each step.
function Optimizer.check_group() end

--- For classes below without one.
function Optimizer:__init() refuse(self, "this class makes no optimizers: its __init must call self:setup(params, defaults)") end

--- What an `__init` calls. params: an array of tensors or of {name, tensor}, or of groups. defaults: the options of groups that do not name their own.
function Optimizer:setup(params, defaults)
  self.defaults, self.param_groups, self.state = defaults, {}, {}
  self.lists, self.blocks = setmetatable({}, {__mode = "k"}), setmetatable({}, {__mode = "k"})
  local first = type(params) == "table" and params[1]
  if type(first) ~= "table" or first.params == nil then return self:add_param_group({params = params}) end
  for _, group in ipairs(params) do self:add_param_group(group) end
end

-- A function that checks the options of a group, compiled for their names.
local function option_check(name, signature)
  local spec = arguments.read(name, (signature:gsub("%*,%s*", "")))
  local fields = {}
  for i, option in ipairs(spec.names) do fields[i] = "group." .. option end
  local text = "local check = ... return function(group) return check(" .. table.concat(fields, ", ") .. ") end"
  return assert(loadstring(text, "=lunette options"))(arguments.compile(spec)), spec.names
end

--- Gives a class its sentence and its options, so that it needs no `__init`: `signature` lists what stands behind `params`, with kinds, ranges and defaults. Groups are held
-- to it whenever they are used; `check(self, group)` of the class, if any, refuses what does not go together.
function Optimizer.options(owner, doc, signature)
  local name, check_values, names = owner.__name, nil, nil
  local takes = "params:any, " .. signature
  local parse = arguments.signature(name, takes)
  catalog.add(owner, {name = "optim." .. name, doc = doc, signature = takes})
  owner.known_options = {}
  for option in signature:gmatch("([%w_]+):") do owner.known_options[option] = true end

  function owner:check_group(group)
    if not check_values then check_values, names = option_check(name, signature) end
    for i = 1, #names do
      if group[names[i]] == nil and self.defaults[names[i]] ~= nil then refuse(self, "%s of a group is nil", names[i]) end
    end
    check_values(group)
    if self.check then self:check(group) end
  end

  local function fill(self, params, ...)
    local defaults = {}
    if not names then check_values, names = option_check(name, signature) end
    for i = 1, #names do defaults[names[i]] = (select(i, ...)) end
    self:setup(params, defaults)
  end
  function owner:__init(...) fill(self, parse(...)) end
end

-- Steps ----------------------------------------------------------------------------------------------------------------------------------

local NOTHING = {}

local function pointers(handles)
  local array = ffi.new("ln_tensor *[?]", #handles)
  for i, h in ipairs(handles) do array[i - 1] = pointer(h) end
  return array
end

-- Not released with a scope, nor finalized while the program ends.
local function alive(h)
  local p = h._p
  return p ~= nil and p.generation == h._gen
end

--- Do the first n entries of `array` still hold the handles, and nothing behind them, and did no scope release a tensor?
local function same_handles(array, handles, n)
  if #array ~= n then return false end
  for i = 1, n do
    local h = handles[i]
    if not (rawequal(array[i], h) and alive(h)) then return false end
  end
  return true
end

local function new_list(self, params)
  local handles = {}
  for i = 1, #params do
    if not is_tensor(params[i]) then refuse(self, "parameter %d must be a tensor, not %s", i, describe(params[i])) end
    handles[i] = params[i]
  end
  return {n = #handles, handles = handles, array = pointers(handles)}
end

--- The parameters of a group: how many, their handles, and an array of pointers.
local function list_of(self, group)
  local list, params = self.lists[group], group.params
  if type(params) ~= "table" then refuse(self, "params must be an array of tensors, not %s", describe(params)) end
  if list and same_handles(params, list.handles, list.n) then return list end
  list = new_list(self, params)
  self.lists[group] = list
  return list
end

--- The table with the state of a parameter, made when there is none.
local function state_of(self, p)
  local all = self.state
  if type(all) ~= "table" then refuse(self, "state must be a table of states by the parameters' ids, not %s", describe(all)) end
  local state = all[p.id]
  if state == nil then
    state = {}
    all[p.id] = state
  end
  if type(state) ~= "table" then refuse(self, "the state of a parameter must be a table, not %s", describe(state)) end
  return state
end

Optimizer.state_of = state_of

local function state_tensor(self, group, p, state, name)
  local t = state[name]
  if t == nil then
    local option = self.initial and self.initial[name]
    t = owned(create.zeros_like(p.data))
    if option then t:fill_(group[option]) end
    state[name] = t
  elseif not is_tensor(t) then
    refuse(self, "%s in the state of a parameter must be a tensor, not %s", name, describe(t))
  end
  return t
end

-- Adds the state tensors of parameter i to a block: pointers to the arrays, and where each stands to `owners`, `keys` and `handles`.
local function add_states(self, group, block, i, p, names)
  local state, owners, keys, handles = state_of(self, p), block.owners, block.keys, block.handles
  for name, value in each(self.numbers or NOTHING) do
    if state[name] == nil then state[name] = type(value) == "string" and group[value] or value end
  end
  block.states[i], block.fresh[i - 1] = state, state[names[1]] == nil
  block.has_fresh = block.has_fresh or block.fresh[i - 1]
  for _, name in ipairs(names) do
    local t, at = state_tensor(self, group, p, state, name), #keys + 1
    owners[at], keys[at], handles[at] = state, name, t
    block.tensors[name][i - 1] = pointer(t)
  end
end

local function new_block(self, group, list, names)
  local n = list.n
  local block = {
    list = list, n = n, params = list.array, names = names, tensors = {}, states = {}, ids = {}, all = self.state, owners = {}, keys = {}, handles = {},
    fresh = ffi.new("bool[?]", n),
  }
  for _, name in ipairs(names) do block.tensors[name] = ffi.new("ln_tensor *[?]", n) end
  for i, p in ipairs(list.handles) do
    block.ids[i], block.states[i] = p.id, false
    if names[1] and list.array[i - 1].grad ~= nil then add_states(self, group, block, i, p, names) end
  end
  return block
end

-- Is the state where the block found it, and has no other parameter a gradient?
local function same_states(all, block)
  local params, ids, states = block.params, block.ids, block.states
  for i = 1, block.n do
    local state = states[i]
    if state then
      if not rawequal(all[ids[i]], state) then return false end
    elseif params[i - 1].grad ~= nil then
      return false
    end
  end
  local owners, keys, handles = block.owners, block.keys, block.handles
  for k = 1, #keys do
    local h = handles[k]
    if not (rawequal(owners[k][keys[k]], h) and alive(h)) then return false end
  end
  return true
end

--- What a step over a group needs, for `n` parameters, in arrays for C: `params`; `tensors[name]`, for each of the names, the state tensors of the
-- parameters that have had a gradient, made where they are missing; `fresh`, whether the first of them was made for this very step.
-- A state begins with zeros, or with the option that the class's `initial` names; its `numbers` are put beside. `states` are the tables that the state tensors stand in, false where there is none.
function Optimizer:block_of(group, names)
  local block, list = self.blocks[group], list_of(self, group)
  if block and rawequal(block.list, list) and rawequal(block.names, names) then
    if not names[1] then return block end
    if rawequal(block.all, self.state) and same_states(block.all, block) then
      if block.has_fresh then ffi.fill(block.fresh, block.n) end
      block.has_fresh = false
      return block
    end
  end
  block = new_block(self, group, list, names)
  self.blocks[group] = block
  return block
end

--- Runs `closure`, if any, and hands on what it returns; then lets each group step.
function Optimizer:step(closure)
  class.check_self(self, Optimizer, "step")
  local loss
  if closure ~= nil then
    if type(closure) ~= "function" then refuse(self, "step takes a function, not %s", describe(closure)) end
    loss = closure()
  end
  for _, group in ipairs(self.param_groups) do
    self:check_group(group)
    self:step_group(group)
  end
  self.stepped = true
  return loss
end

local parse_zero = arguments.signature("zero_grad", "set_to_none:bool=false")

--- Fills all gradients with zeros, or drops them.
function Optimizer:zero_grad(...)
  class.check_self(self, Optimizer, "zero_grad")
  local set_to_none = parse_zero(...)
  for _, group in ipairs(self.param_groups) do
    local list = list_of(self, group)
    base.check(C.ln_zero_grad(list.array, list.n, set_to_none))
  end
end

-- State dicts ----------------------------------------------------------------------------------------------------------------------------

--- {state = {[index] = ...}, param_groups = {...}}: parameters are named by their index over all groups, from 0.
function Optimizer:state_dict()
  class.check_self(self, Optimizer, "state_dict")
  local out, index = {state = {}, param_groups = {}}, 0
  for g, group in ipairs(self.param_groups) do
    local copy = {}
    for key, value in each(group) do copy[key] = own(value) end
    copy.params = {}
    for i, p in ipairs(group.params) do
      copy.params[i] = index
      out.state[index] = self.state[p.id]
      index = index + 1
    end
    out.param_groups[g] = copy
  end
  return out
end

-- What says how PyTorch computes, not what: its state dicts have it, ours do not.
local COMPUTED_BY = {foreach = true, fused = true, capturable = true, differentiable = true}

-- PyTorch keeps counts and numbers as tensors of one element.
local function plain(value) return is_tensor(value) and value:numel() == 1 and value:item() or value end

local function is_count(x) return type(x) == "number" and x >= 0 and x % 1 == 0 end

--- The kinds of values in the state of a parameter: how each is checked and copied when a state dict is loaded.
local kinds = {
  moment = function(self, p, name, value)
    if not is_tensor(value) then refuse(self, "%s in the state dict must be a tensor, not %s", name, describe(value)) end
    if value.shape ~= p.shape then
      refuse(self, "%s in the state dict has shape %s, its parameter %s", name, tostring(value.shape), tostring(p.shape))
    end
    return owned(create.zeros_like(p.data):copy_(value:detach()))
  end,
  count = function(self, _, name, value)
    value = plain(value)
    if not is_count(value) then refuse(self, "%s in the state dict must be a whole number from 0, not %s", name, describe(value)) end
    return value
  end,
  number = function(self, _, name, value)
    value = plain(value)
    if type(value) ~= "number" then refuse(self, "%s in the state dict must be a number, not %s", name, describe(value)) end
    return value
  end,
}

local function copy_value(p, value)
  if is_tensor(value) then return owned(value:detach():to(p.device):to(p.dtype):clone()) end
  if type(value) ~= "table" then return value end
  local copy = {}
  for key, item in each(value) do copy[key] = copy_value(p, item) end
  return copy
end

--- The state of parameter `index` for this optimizer. A class that declares `state_fields`, as {name = "moment" | "count" | "number"}, and `state_required`,
-- an array of names, takes these alone; another one takes what comes.
local function loaded_state(self, entry, p, index)
  local fields, out = self.state_fields, {}
  if type(entry) ~= "table" then refuse(self, "the state of parameter %d in the state dict must be a table, not %s", index, describe(entry)) end
  for key, value in each(entry) do
    local kind = fields and fields[key]
    if fields and not kind then
      refuse(self, "the state of parameter %d in the state dict has '%s', which this optimizer does not keep; was it another one's?", index, tostring(key))
    end
    if kind then out[key] = kinds[kind](self, p, key, value) else out[key] = copy_value(p, value) end
  end
  for _, name in ipairs(self.state_required or NOTHING) do
    if out[name] == nil then refuse(self, "the state of parameter %d in the state dict lacks '%s'; was it another optimizer's?", index, name) end
  end
  return out
end

local function loaded_group(self, saved, group, g)
  if type(saved) ~= "table" or type(saved.params) ~= "table" then
    refuse(self, "param_groups[%d] of the state dict must be a table with params, not %s", g, describe(saved))
  end
  if #saved.params ~= #group.params then
    refuse(self, "param_groups[%d] of the state dict has %d parameters, the optimizer's %d", g, #saved.params, #group.params)
  end
  for i, name in ipairs(group.param_names and saved.param_names or NOTHING) do
    if group.param_names[i] ~= name then
      refuse(self, "parameter %d of param_groups[%d] is '%s' in the state dict, '%s' here: was the model reordered?", i, g, tostring(name),
        group.param_names[i])
    end
  end
  local new = {}
  for key, value in each(group) do new[key] = value end
  for key, value in each(saved) do
    local passed = COMPUTED_BY[key] and new[key] == nil
    if not passed then check_option(self, key) end
    if not passed and key ~= "params" and key ~= "param_names" then new[key] = own(value) end
  end
  self:check_group(new)
  return new
end

--- Takes over options and state; parameters are matched by their index. When anything is wrong, nothing is taken over.
function Optimizer:load_state_dict(state_dict)
  class.check_self(self, Optimizer, "load_state_dict")
  if type(state_dict) ~= "table" or type(state_dict.param_groups) ~= "table" or type(state_dict.state) ~= "table" then
    refuse(self, "load_state_dict takes what state_dict returned, not %s", describe(state_dict))
  end
  local saved, here = state_dict.param_groups, self.param_groups
  if #saved ~= #here then refuse(self, "the state dict has %d parameter groups, the optimizer %d", #saved, #here) end
  local groups, states, index = {}, {}, 0
  for g, group in ipairs(here) do
    groups[g] = loaded_group(self, saved[g], group, g)
    for i, p in ipairs(group.params) do
      local entry = state_dict.state[saved[g].params[i]]
      if entry ~= nil then states[p.id] = loaded_state(self, entry, p, index) end
      index = index + 1
    end
  end
  for g, group in ipairs(here) do
    for key, value in each(groups[g]) do rawset(group, key, value) end
  end
  self.state = states
end

-- Completes a copy by lt.deepcopy, whose fields are copies already: states stand under the ids of the copied parameters.
function Optimizer:__copied(original)
  local copies = self.state
  self.lists, self.blocks, self.state = setmetatable({}, {__mode = "k"}), setmetatable({}, {__mode = "k"}), {}
  for g, group in ipairs(self.param_groups) do
    guarded(self, group)
    for i, p in ipairs(group.params) do
      local state = copies[original.param_groups[g].params[i].id]
      for _, value in each(state or NOTHING) do owned(value) end
      self.state[owned(p).id] = state
    end
  end
end

-- Text -----------------------------------------------------------------------------------------------------------------------------------

local function group_lines(group, g)
  local names, lines = {}, {("Parameter Group %d"):format(g - 1)}
  for key in each(group) do
    if key ~= "params" and key ~= "param_names" then names[#names + 1] = key end
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
