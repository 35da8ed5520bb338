--- luajit nonsense.lua FIRST STEP FOLDER: calls every function with nonsense in each of its arguments. A line of output for each call whose error
-- is not one that a user can read: call TAB what is wrong.
--
-- For each function calls that succeed are looked for by chance; then one argument after the other is replaced, in these, by every nonsense value.

local first, step, folder = tonumber(arg[1]), tonumber(arg[2]), arg[3]
local guard = require("spec.stress.guard")
local values = require("spec.stress.values")
local api = require("spec.stress.api")
local lt = require("lunette")

local TRIES, TEMPLATES, MOST = 250, 3, 5 -- attempts to find calls that succeed, how many of these are kept, most arguments

local function any(list) return list[math.random(#list)] end

--- The kinds of argument worth trying where no signature is known, as often as they are listed.
local USUAL = {"tensor", "tensor", "tensor", "int", "int", "float", "bool", "ints", "dtype", "enum", "list", "object", "object", "absent"}

local function by_signature(params, skip)
  local list = {}
  for i = 1 + skip, #params do
    local p = params[i]
    if p.optional or p.default then
      if math.random(3) == 1 then break end
    end
    if p.choices and math.random(4) > 1 then
      list[#list + 1] = ("%q"):format(any{p.choices:match("^[^|]+"), p.choices:match("[^|]+$")})
    else
      list[#list + 1] = any(values.plausible[p.kind] or values.plausible.object)
    end
  end
  return list
end

local function some_arguments(entry)
  if entry.params and math.random(5) > 1 then return by_signature(entry.params, entry.self and 1 or 0) end
  local list = {}
  for i = 1, math.random(0, 4) do list[i] = any(values.plausible[any(USUAL)]) end
  return list
end

local function call_text(entry, self, list) return (entry.self and self .. ":" .. entry.method or entry.name) .. "(" .. table.concat(list, ", ") .. ")" end

--- What is wrong with an error, or nil: it must blame this file, which made the call, and must not come from inside Lua or the library.
local function fault(message)
  if type(message) ~= "string" then return "an error that is no string: " .. tostring(message) end
  if message:find("raised by the callback", 1, true) or message == "not enough memory" then return nil end
  if not message:find("^[^\n:]*spec/stress/%w+%.lua:%d+: ") and not message:find("^call:1: ") then return "blames another line: " .. message end
  for _, inner in ipairs{"attempt to ", "bad argument #", "got no value", "stack overflow", "cannot convert"} do
    if message:find(inner, 1, true) then return "not worded: " .. message end
  end
end

local said = {}

--- Writes down a fault; one that was seen at the same line of Lunette before is the same.
local function complain(entry, text, problem)
  local key = problem:match("[%w_]+%.lua:%d+: .?[%a ]*") or entry.name .. problem
  if said[key] then return end
  said[key] = true
  io.write(text, "\t", (problem:gsub("%s+", " ")), "\n")
  io.flush()
end

local function arguments_of(list)
  local made = {}
  for i, text in ipairs(list) do made[i] = values.make(text) end
  return made, #list
end

--- Uses what a constructor returned.
local function use(result)
  if type(result) == "userdata" then return result(lt.ones(2, 3)) end
  return tostring(result)
end

local function attempt(entry, self_text, list)
  local text = call_text(entry, self_text, list)
  local made, n = arguments_of(list)
  local object = entry.self and values.make(self_text)
  local ok, result
  if object ~= nil and object ~= false then
    ok, result = guard.call(text, object[entry.method], object, unpack(made, 1, n))
  else
    ok, result = guard.call(text, entry.fn, unpack(made, 1, n))
  end
  local problem = not ok and fault(result)
  if problem then complain(entry, text, problem) end
  if ok and type(result) ~= "table" then
    local used, message = guard.call(text .. ", used", use, result)
    problem = not used and fault(message)
    if problem then complain(entry, text .. "(x)", problem) end
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
