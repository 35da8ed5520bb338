--- luajit nonsense.lua FIRST STEP FOLDER: calls every function with nonsense in each of its arguments. A line of output for each call whose error
-- is not one that a user can read: call TAB what is wrong.
--
-- For each function calls that succeed are looked for by chance; then one argument after the other is replaced, in these, by every nonsense value.

local first, step, folder = tonumber(arg[1]), tonumber(arg[2]), arg[3]
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

--- Uses what a constructor returned.
local function use(result)
  if lt.isinstance(result, lt.nn.Module) then return result(lt.ones(2, 3)) end
  return tostring(result)
end

local function attempt(entry, self_text, list)
  local text = call_text(entry, self_text, list)
  local made, n = arguments_of(list)
  local object = entry.self and values.make(self_text)
  local ok, result
  if entry.self then
    ok, result = guard.call(text, object[entry.method], object, unpack(made, 1, n))
  else
    ok, result = guard.call(text, entry.fn, unpack(made, 1, n))
  end
  local problem = not ok and faults.of(result)
  if problem then faults.complain(text, problem) end
  if ok and type(result) ~= "table" then
    local used, message = guard.call(text .. ", used", use, result)
    problem = not used and faults.of(message)
    if problem then faults.complain(text .. ", used", problem) end
  end
  return ok
end

local function self_of(entry) return entry.self == "tensor" and any(values.plausible.tensor) or entry.self end

--- Up to TEMPLATES different calls that succeed, and the call without arguments.
local function templates(entry)
  local found, known = {{self = self_of(entry)}}, {}
  for _ = 1, TRIES do
    local self, list = self_of(entry), some_arguments(entry)
    local key = call_text(entry, self, list)
    if not known[key] then
      known[key] = true
      if attempt(entry, self, list) and #list > 0 then
        list.self = self
        found[#found + 1] = list
        if #found > TEMPLATES then break end
      end
    end
  end
  return found
end

local function poison(entry, template)
  for position = 1, math.min(#template + 1, MOST) do
    for _, nonsense in ipairs(values.nonsense) do
      local list = {}
      for i = 1, #template do list[i] = template[i] end
      list[position] = nonsense
      attempt(entry, template.self, list)
    end
  end
end

local threads = lt.get_num_threads()
guard.start(folder)
for i = first, #api.entries, step do
  local entry = api.entries[i]
  guard.at = i
  local seed = 0
  for k = 1, #entry.name do seed = (seed * 31 + entry.name:byte(k)) % 2 ^ 31 end
  math.randomseed(seed)
  for _, template in ipairs(templates(entry)) do poison(entry, template) end
  api.restore(threads)
end
