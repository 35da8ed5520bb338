--- Containers: Sequential, ModuleList, ModuleDict, ParameterList, ParameterDict. Places count from 0, negative ones from the end.

local arguments = require("lunette.arguments")
local class = require("lunette.nn.class")
local list = require("lunette.nn.list")
local ordered = require("lunette.nn.ordered")
local slices = require("lunette.nn.slices")

local Module, fail, describe = class.Module, arguments.fail, arguments.describe
local is_module, is_int = arguments.is_module, arguments.is_int
local getmetatable, select, unpack, type, min = getmetatable, select, unpack, type, math.min

local container = {}

local function names_of(self) return getmetatable(self)[self.__holds] end

-- The place 0 ... n - 1 that `index` means; with `room` also n, as insert allows.
local function place_of(owner, index, n)
  if not is_int(index) then fail(("%s: an index must be a whole number, not %s"):format(owner.__name, describe(index))) end
  if index < -n or index >= n then
    fail(("%s: index %d is out of range for length %d (indexes start at 0)"):format(owner.__name, index, n))
  end
  return index < 0 and index + n or index
end

local function sliced(record, key)
  local owner, names = record.class, record[record.class.__holds]
  local out = {}
  for place in slices.places(owner.__name, key, #names) do out[#out + 1] = {names[place + 1], record.__index[names[place + 1]]} end
  return owner.__from_slice(owner, out)
end

-- What lists share: reading by number and by slice.
local function get(record, key)
  local names = record[record.class.__holds]
  if type(key) == "number" then return record.__index[names[place_of(record.class, key, #names) + 1]] end
  if type(key) == "string" and key:find(":", 1, true) then return sliced(record, key) end
end

local function count(self) return #names_of(self) end

local function check_value(owner, value, place)
  local good = owner.__holds == "module" and is_module(value) or owner.__holds == "parameter" and class.is_parameter(value)
  if good then return end
  local wanted = owner.__holds == "module" and "a module" or "an nn.Parameter"
  fail(("%s: %s must be %s, not %s"):format(owner.__name, place, wanted, describe(value)))
end

local function put(self, name, value)
  check_value(self.class, value, ("entry '%s'"):format(name))
  class.register(getmetatable(self), self.__holds, name, value)
end

-- list[i] = value; a number outside the range is an error, nil too.
local function set_by_number(self, key, value)
  if type(key) ~= "number" then return false end
  local names = names_of(self)
  put(self, names[place_of(self.class, key, #names) + 1], value)
  return true
end

-- An array of values from what a constructor or extend was given: a Lua array or another list.
local function values_of(owner, source)
  if is_module(source) and source.__holds == owner.__holds then
    local out, record = {}, getmetatable(source)
    for i, name in ipairs(names_of(source)) do out[i] = record.__index[name] end
    return out
  end
  if type(source) ~= "table" then fail(("%s: an array is needed, not %s"):format(owner.__name, describe(source))) end
  if arguments.form_of(source) == "names" then fail(("%s takes an array, not a table of names"):format(owner.__name)) end
  return source
end

-- Sequential -----------------------------------------------------------------------------------------------------------------------------

local Sequential = Module:subclass("Sequential")
container.Sequential = Sequential
Sequential.__holds, Sequential.__get, Sequential.__len, Sequential.__set = "module", get, count, set_by_number

local function is_pairs(x)
  return type(x) == "table" and (ordered.is_map(x) or not getmetatable(x) and (type(x[1]) == "table" or arguments.form_of(x) == "names"))
end

--- Sequential(a, b, ...), one array of modules, one array of {name, module} pairs, or an ordered map.
function Sequential:__init(...)
  local first = ...
  if select("#", ...) == 1 and is_pairs(first) then
    for _, pair in ipairs(ordered.pairs_of(first)) do put(self, pair[1], pair[2]) end
    return
  end
  local modules = type(first) == "table" and select("#", ...) == 1 and values_of(Sequential, first) or {n = select("#", ...), ...}
  for i = 1, modules.n or #modules do put(self, tostring(i - 1), modules[i]) end
end

function Sequential.__from_slice(owner, pairs_array)
  local self = class.allocate(owner)
  for _, pair in ipairs(pairs_array) do put(self, pair[1], pair[2]) end
  return self
end

-- One value is the common case and goes without a table.
local function keep(...)
  if select("#", ...) == 1 then return (...) end
  return nil, {n = select("#", ...), ...}
end

local function pack(...) return {n = select("#", ...), ...} end

-- Calls the modules from position i on with several values.
local function run_several(names, fields, i, values)
  for k = i, #names do values = pack(fields[names[k]](unpack(values, 1, values.n))) end
  return unpack(values, 1, values.n)
end

local LONGEST = 16 -- modules; a longer Sequential runs in pieces of so many
local runners = {}

-- Calls n modules one after the other, from position `first` on, with one value. Straight code, since LuaJIT compiles a loop over different modules
-- only after it has seen each of them in every turn.
local function runner(n)
  if runners[n] then return runners[n] end
  local lines = {"local keep = ... return function(names, fields, first, x) local several"}
  for i = 0, n - 1 do
    lines[#lines + 1] = ("x, several = keep(fields[names[first + %d]](x))"):format(i)
    lines[#lines + 1] = ("if several then return nil, several, first + %d end"):format(i + 1)
  end
  lines[#lines + 1] = "return x end"
  runners[n] = assert(loadstring(table.concat(lines, "\n"), "=lunette.sequential"))(keep)
  return runners[n]
end

-- The same for any number, in pieces.
local function run_pieces(names, fields, x)
  local first, several = 1, nil
  while not several and first <= #names do
    local n = min(#names - first + 1, LONGEST)
    local behind
    x, several, behind = runner(n)(names, fields, first, x)
    first = behind or first + n
  end
  return x, several, first
end

function Sequential:forward(...)
  local record = getmetatable(self)
  local names, fields = record.module, record.__index
  local x, several = keep(...)
  local n, first = #names, 1
  if not several then
    if n <= LONGEST then
      x, several, first = runner(n)(names, fields, 1, x)
    else
      x, several, first = run_pieces(names, fields, x)
    end
  end
  if several then return run_several(names, fields, first, several) end
  return x
end

--- Adds a module at the end, under its number; returns the container.
function Sequential:append(module)
  put(self, tostring(#self), module)
  return self
end

-- ModuleList and ParameterList -----------------------------------------------------------------------------------------------------------

local function define_list(name, holds)
  local List = Module:subclass(name)
  List.__holds, List.__get, List.__len, List.__set = holds, get, count, set_by_number

  function List:__init(...)
    if select("#", ...) > 1 then fail(("%s takes one array: %s{a, b}"):format(name, name)) end
    local source = ...
    if source ~= nil then self:extend(source) end
  end

  function List.__from_slice(owner, pairs_array)
    local self = class.allocate(owner)
    for _, pair in ipairs(pairs_array) do self:append(pair[2]) end
    return self
  end

  function List:append(value)
    put(self, tostring(#self), value)
    return self
  end

  function List:extend(values)
    for _, value in ipairs(values_of(self.class, values)) do self:append(value) end
    return self
  end

  container[name] = List
  return List
end

local ModuleList = define_list("ModuleList", "module")

function ModuleList:forward() fail(("%s has no forward; go over it with lt.enumerate"):format(self.class.__name)) end

--- As the text of other modules, equal neighbours on one line: "(0-2): 3 x Linear(...)".
function ModuleList:__repr()
  local lines, first, repeated, name = {}, 0, 0, self:_get_name()
  for i = 0, #self do
    local line = i < #self and tostring(self[i]):gsub("\n", "\n  ") or nil
    if repeated > 0 and line ~= lines[#lines] then
      lines[#lines] = repeated == 1 and ("(%d): %s"):format(first, lines[#lines]) or ("(%d-%d): %d x %s"):format(first, i - 1, repeated, lines[#lines])
      repeated = 0
    end
    if repeated == 0 then lines[#lines + 1], first = line, i end
    repeated = repeated + 1
  end
  return #lines == 0 and name .. "()" or ("%s(\n  %s\n)"):format(name, table.concat(lines, "\n  "))
end

--- Puts `module` before `index`; the ones behind move up.
function ModuleList:insert(index, module)
  local n = #self
  if not is_int(index) then fail(("%s: insert takes a whole number and a module, not %s"):format(self.class.__name, describe(index))) end
  local place = math.max(0, math.min(n, index < 0 and index + n or index))
  check_value(self.class, module, "the inserted value")
  for i = n, place + 1, -1 do put(self, tostring(i), self[i - 1]) end
  put(self, tostring(place), module)
end

local ParameterList = define_list("ParameterList", "parameter")
local tensor_names = {float32 = "FloatTensor", float64 = "DoubleTensor", float16 = "HalfTensor", bfloat16 = "BFloat16Tensor"}

local function parameter_line(name, p)
  local sizes = {}
  for i = 0, #p.shape - 1 do sizes[i + 1] = tostring(p.shape[i]) end
  local kind = (p.is_cuda and "torch.cuda." or "torch.") .. (tensor_names[p.dtype] or p.dtype)
  local where = p.is_cuda and (" (GPU %s)"):format(p.device:match("%d+")) or ""
  return ("  (%s): Parameter containing: [%s of size %s%s]"):format(name, kind, table.concat(sizes, "x"), where)
end

local function parameter_lines(self)
  local lines = {}
  for i, name in ipairs(names_of(self)) do lines[i] = parameter_line(name, getmetatable(self).__index[name]) end
  return table.concat(lines, "\n")
end

ParameterList.extra_repr = parameter_lines

-- ModuleDict and ParameterDict -----------------------------------------------------------------------------------------------------------

local function define_dict(name, holds)
  local Dict = Module:subclass(name)
  Dict.__holds, Dict.__len = holds, count

  function Dict:__init(source)
    if source ~= nil then self:update(source) end
  end

  function Dict.__set(self, key, value)
    if value == nil or key == "training" then return false end
    local plain = not is_module(value) and not class.is_parameter(value)
    if plain and self.class ~= Dict then return false end
    put(self, key, value)
    return true
  end

  function Dict:items()
    local out = {}
    for i, key in ipairs(names_of(self)) do out[i] = {key, self[key]} end
    return list.of(out, true)
  end

  function Dict:keys()
    local out = {}
    for i, key in ipairs(names_of(self)) do out[i] = key end
    return list.of(out)
  end

  function Dict:values()
    local out = {}
    for i, key in ipairs(names_of(self)) do out[i] = self[key] end
    return list.of(out)
  end

  function Dict:clear()
    for key in self:keys() do self[key] = nil end
  end

  function Dict:pop(key)
    if getmetatable(self).kind[key] ~= holds then
      fail(("%s: pop: there is no key '%s'%s"):format(self.class.__name, tostring(key), arguments.hint(key, names_of(self))))
    end
    local value = self[key]
    self[key] = nil
    return value
  end

  --- An array of {name, value} pairs, an ordered map, another dict, or a plain table (sorted by name).
  function Dict:update(source)
    if type(source) ~= "table" and not (is_module(source) and source.items) then
      fail(("%s: a table of names or an array of {name, value} pairs is needed, not %s"):format(self.class.__name, describe(source)))
    end
    for _, pair in ipairs(ordered.pairs_of(source)) do put(self, pair[1], pair[2]) end
  end

  container[name] = Dict
  return Dict
end

define_dict("ModuleDict", "module")
define_dict("ParameterDict", "parameter").extra_repr = parameter_lines

return container
