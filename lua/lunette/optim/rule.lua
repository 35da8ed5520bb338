--- Optimizers whose step is a rule of kernels/optim.def, done for all parameters of a group in one call.

local each = require("lunette.each")
local arguments = require("lunette.arguments")
local base = require("lunette.ffi")
local ffi = require("ffi")
local Optimizer = require("lunette.optim.optimizer")

local C, describe, type, ipairs = base.C, arguments.describe, type, ipairs

local UNINITIALIZED = tonumber(C.LN_UNINITIALIZED) -- the highest flag
local STATES, SCALARS = 3, 10 -- the most that a rule has (ln_optim_step)

-- The rules by name: their number, the names of their states, and of their scalars with the index of each.
local function read_rules()
  local rules, i = {}, 0
  local row = C.ln_step_rule_at(0)
  while row ~= nil do
    local rule = {id = i, states = {}, scalars = {}}
    for name in ffi.string(row.states):gmatch("%S+") do rule.states[#rule.states + 1] = name end
    for name in ffi.string(row.scalars):gmatch("%S+") do rule.scalars[#rule.scalars + 1] = name end
    rules[ffi.string(row.name)] = rule
    i = i + 1
    row = C.ln_step_rule_at(i)
  end
  return rules
end

local rules

local RuleOptimizer = Optimizer:subclass("RuleOptimizer")

-- Which states a group needs, as one and the same array each time, and an array for C with a slot for each state of the rule.
local function layout_of(self, group)
  local class = self.class
  local key = ""
  for _, name in ipairs(class.rule.states) do
    local needed = class.optional[name]
    if not needed or needed(group) then key = key .. name .. " " end
  end
  local layout = class.layouts[key]
  if not layout then
    layout = {names = {}, states = ffi.new("ln_tensor *const *[?]", STATES)}
    for name in key:gmatch("%S+") do layout.names[#layout.names + 1] = name end
    class.layouts[key] = layout
  end
  return layout
end

-- The number of the step that a parameter is about to take, from 1; its state counts what has been taken.
local function next_step(self, state)
  local taken = state and state.step or 0
  if not (type(taken) == "number" and taken >= 0) then
    self:refuse("step in the state of a parameter must be a number from 0, not %s", describe(taken))
  end
  return taken + 1
end

-- Computes the scalars of parameter i into its row; those of the parameter before serve where they are the same.
local function fill_scalars(self, block, group, i, t)
  local class, array = self.class, block.scalars
  local fresh = block.fresh[i - 1]
  if block.last and not class.numbers and block.last_step == t and block.last_fresh == fresh then
    ffi.copy(array + (i - 1) * SCALARS, array + (block.last - 1) * SCALARS, SCALARS * 8)
  else
    local values = class.values
    class.fill(values, group, t, block.states[i], fresh)
    local row = array + (i - 1) * SCALARS
    for k, name in ipairs(class.rule.scalars) do row[k - 1] = values[name] end
  end
  block.last, block.last_step, block.last_fresh = i, t, fresh
end

-- Refuses parameters without a shape, row-sparse gradients where the rule does not go by rows, and others where it must.
local function check_params(self, group, params, n)
  local rows = self.class.rows
  for i = 0, n - 1 do
    local g = params[i].grad
    if params[i].flags >= UNINITIALIZED then self:refuse("parameter %d is uninitialised; call the lazy module once before the first step", i) end
    if g ~= nil and g.rows ~= nil then
      if not rows then self:refuse_sparse(self.class.instead) end
      rows(self, group)
    elseif g ~= nil and self.class.only_rows then
      arguments.fail(self.class.__name .. " does not support dense gradients, please consider Adam instead")
    end
  end
end

function RuleOptimizer:step_group(group)
  local class = self.class
  local layout = layout_of(self, group)
  local block = self:block_of(group, layout.names)
  local params, states, n = block.params, block.states, block.n
  if not block.scalars then block.scalars = ffi.new("double[?]", n * SCALARS) end
  block.last = nil
  check_params(self, group, params, n)
  for i = 1, n do
    if params[i - 1].grad ~= nil then fill_scalars(self, block, group, i, next_step(self, states[i])) end
  end
  for k, name in ipairs(class.rule.states) do layout.states[k - 1] = block.tensors[name] end
  base.check(C.ln_optim_step(class.__name, class.rule.id, params, layout.states, n, block.scalars, SCALARS))
  if not class.counts then return end
  for i = 1, n do
    local state = states[i]
    if state and params[i - 1].grad ~= nil then
      state.step = next_step(self, state)
      if class.advance then class.advance(group, state.step, state) end
    end
  end
end

-- What may stand in the state of a parameter, and what must (Optimizer.load_state_dict).
local function set_fields(class)
  class.state_fields, class.state_required = {}, {}
  local function add(name, kind, required)
    class.state_fields[name] = kind
    if required then class.state_required[#class.state_required + 1] = name end
  end
  for _, name in ipairs(class.rule.states) do add(name, "moment", not class.optional[name]) end
  if class.counts then add("step", "count", true) end
  for name in each(class.numbers or {}) do add(name, "number", true) end
end

--- Declares an optimizer of a rule. `doc`: what it does, a sentence. `signature`: the options behind `params`, with kinds, ranges and defaults, which hold for groups too. `declaration`:
--     rule       its name in kernels/optim.def
--     fill       fill(values, group, t, state, fresh) sets each scalar of the rule for step t of a parameter (from 1); fresh: its state was just made
--     optional   {state = function(group)}: states that only some options need
--     initial    {state = option}: what a state begins with, where that is not 0
--     numbers    {name = value or option}: numbers in the state of a parameter beside `step`, and what they begin with
--     advance    advance(group, t, state) brings those numbers on, after the step
--     counts     false: the state has no `step`
--     rows       rows(self, group): row-sparse gradients are taken, a step moving the rows that have one; it refuses options that do not go with them.
--     only_rows  no others are; instead: what is said where none are
--     check      check(self, group) refuses options that do not go together
function RuleOptimizer.declare(name, doc, signature, declaration)
  rules = rules or read_rules()
  local class = RuleOptimizer:subclass(name)
  for key, value in each(declaration) do class[key] = value end
  class.rule, class.optional, class.layouts, class.values = rules[declaration.rule], declaration.optional or {}, {}, {}
  class.counts = declaration.counts ~= false
  set_fields(class)
  class:options(doc, signature)
  return class
end

return RuleOptimizer
