--- luajit nonsense.lua FIRST STEP FOLDER: calls every function with nonsense in each of its arguments. A line of output for each call whose error
-- is not one that a user can read: call TAB what is wrong.
--
-- For each function calls that succeed are looked for by chance; then one argument after the other is replaced, in these, by every nonsense value.

local first_entry, step, folder = tonumber(arg[1]), tonumber(arg[2]), arg[3]
local guard = require("spec.stress.guard")
local values = require("spec.stress.values")
local api = require("spec.stress.api")
local faults = require("spec.stress.faults")
local choice = require("spec.stress.choice")
local lt = require("lunette")

local TRIES, TEMPLATES, MOST = 250, 3, 5 -- attempts to find calls that succeed, how many of these are kept, most arguments

local any, some_arguments = choice.any, choice.arguments

local function call_text(entry, self, list) return (entry.self and self .. ":" .. entry.method or entry.name) .. "(" .. table.concat(list, ", ") .. ")" end

local function arguments_of(list)
  local made = {}
  for i, text in ipairs(list) do made[i] = values.make(text) end
  return made, #list
end

--- Calls `fn` under the limits and complains of an error that a user cannot read. @return did it succeed, and its result
local function try(text, fn, ...)
  local ok, result = guard.call(text, fn, ...)
  local problem = not ok and faults.of(result)
  if problem then faults.complain(text, problem) end
  return ok, result
end

--- Uses what a constructor returned.
local function use(result)
  if lt.isinstance(result, lt.nn.Module) then return result(lt.ones(2, 3)) end
  return tostring(result)
end

--- @return did the call succeed, and its result
local function attempt(entry, self_text, list)
  local text = call_text(entry, self_text, list)
  local made, n = arguments_of(list)
  local ok, result
  if entry.self then
    local object = values.make(self_text)
    ok, result = try(text, api.method(entry, object), object, unpack(made, 1, n))
  else
    ok, result = try(text, entry.fn, unpack(made, 1, n))
  end
  if ok and type(result) ~= "table" then try(text .. ", used", use, result) end
  return ok, result
end

local function self_of(entry) return entry.self == "tensor" and any(values.plausible.tensor) or entry.self end

--- Up to TEMPLATES different calls that succeed, and the call without arguments.
local function templates(entry)
  local found, known = {{self = self_of(entry)}}, {}
  for _ = 1, TRIES do
    local self, list, params = self_of(entry), some_arguments(entry)
    local key = call_text(entry, self, list)
    if not known[key] then
      known[key] = true
      local ok, result = attempt(entry, self, list)
      if ok and #list > 0 then
        list.self, list.params, list.result = self, params, result
        found[#found + 1] = list
        if #found > TEMPLATES then break end
      end
    end
  end
  return found
end

local function replaced(list, position, text)
  local copy = {}
  for i = 1, #list do copy[i] = list[i] end
  copy[position] = text
  return copy
end

local function poison(entry, template)
  for position = 1, math.min(#template + 1, MOST) do
    for _, nonsense in ipairs(values.nonsense) do attempt(entry, template.self, replaced(template, position, nonsense)) end
  end
end

-- By name ------------------------------------------------------------------------------------------------------------------------------------

--- "{name = value, ...}" for the texts of a call's arguments and its parameters, of which `first` is the first; without number `left_out`.
local function by_name(list, params, first, left_out, extra)
  local parts = {extra}
  for i, text in ipairs(list) do
    local param = params[i + first - 1]
    if i ~= left_out then parts[#parts + 1] = ("[%q] = %s"):format(param and param.name or "surplus", text) end
  end
  return "{" .. table.concat(parts, ", ") .. "}"
end

--- The call with its arguments by name: each replaced by nonsense, each missing, one too many.
local function poison_names(entry, template)
  local params, first = template.params, entry.self and 2 or 1
  for position = 1, math.min(#template, MOST) do
    for _, nonsense in ipairs(values.nonsense) do attempt(entry, template.self, {by_name(replaced(template, position, nonsense), params, first)}) end
    attempt(entry, template.self, {by_name(template, params, first, position)})
  end
  attempt(entry, template.self, {by_name(template, params, first, nil, "bogus = 1")})
end

-- Modules ------------------------------------------------------------------------------------------------------------------------------------

--- Runs a module with nonsense, alone and beside an input.
local function poison_forward(text, module)
  for _, list in ipairs{values.nonsense, values.plausible.tensor} do
    for _, nonsense in ipairs(list) do
      try(("%s(%s)"):format(text, nonsense), module, values.make(nonsense))
      try(("%s(y, %s)"):format(text, nonsense), module, lt.rand(2, 3), values.make(nonsense))
    end
  end
end

local function sweep(entry)
  for _, template in ipairs(templates(entry)) do
    poison(entry, template)
    if template.params then poison_names(entry, template) end
    if lt.isinstance(template.result, lt.nn.Module) then poison_forward(call_text(entry, template.self, template), template.result) end
  end
end

local threads = lt.get_num_threads()
guard.start(folder)
for i = first_entry, #api.entries, step do
  local entry = api.entries[i]
  guard.at = i
  local seed = 0
  for k = 1, #entry.name do seed = (seed * 31 + entry.name:byte(k)) % 2 ^ 31 end
  math.randomseed(seed)
  sweep(entry)
  api.restore(threads)
end
