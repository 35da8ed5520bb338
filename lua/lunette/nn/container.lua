--- Containers: Sequential, ModuleList, ModuleDict, ParameterList, ParameterDict. Positions count from 0, negative ones from the end.

local arguments = require("lunette.arguments")
local class = require("lunette.class")
local define = require("lunette.define")
local internals = require("lunette.nn.internals")
local list = require("lunette.nn.list")
local ordered = require("lunette.nn.ordered")
local Parameter = require("lunette.nn.parameter").Parameter
local slices = require("lunette.nn.slices")

local Module, fail, describe = internals.Module, arguments.fail, arguments.describe
local is_module, is_tensor, is_int = arguments.is_module, arguments.is_tensor, arguments.is_int
local getmetatable, select, unpack, type, ipairs, min = getmetatable, select, unpack, type, ipairs, math.min

local container = {}

-- What all containers share ----------------------------------------------------------------------------------------------------------------

local function names_of(self) return getmetatable(self)[self.class.__holds] end

local function count(self) return #names_of(self) end

-- The values in order.
local function values_of(self)
  local out, fields = {}, getmetatable(self).__index
  for i, name in ipairs(names_of(self)) do out[i] = fields[name] end
  return out
end

-- A value that the container can hold: a module, or a parameter, made of a plain tensor. `what` names it in the error.
local function checked(self, value, what)
  local owner = self.class
  if owner.__holds == "module" then
    if is_module(value) then return value end
    local got = class.is_class(value) and ("the class %s; call it to make one: nn.%s(...)"):format(value.__name, value.__name) or describe(value)
    fail(("%s: %s must be a module, not %s"):format(owner.__name, what, got))
  end
  if not is_tensor(value) then fail(("%s: %s must be a tensor or an nn.Parameter, not %s"):format(owner.__name, what, describe(value))) end
  return internals.is_parameter(value) and value or Parameter(value, {requires_grad = value.dtype:find("float", 1, true) ~= nil})
end

local function put(self, name, value)
  internals.register(self, self.class.__holds, name, checked(self, value, ("entry '%s'"):format(tostring(name))))
end

local function remove_all(self)
  local inner = getmetatable(self)
  for _, name in ipairs(names_of(self)) do internals.forget(inner, name) end
end

-- Lists ------------------------------------------------------------------------------------------------------------------------------------

-- The position 0 ... n - 1 that `index` means.
local function position_of(self, index, n)
  local name = self.class.__name
  if not is_int(index) then fail(("%s: an index must be a whole number, not %s"):format(name, describe(index))) end
  if index < -n or index >= n then fail(("%s: index %d is out of range for length %d (indexes start at 0)"):format(name, index, n)) end
  return index < 0 and index + n or index
end

-- Holds these values under the numbers from 0, and nothing else.
local function refill(self, values)
  remove_all(self)
  for i = 1, #values do put(self, tostring(i - 1), values[i]) end
end

local function remove_at(self, index)
  local values = values_of(self)
  local removed = table.remove(values, position_of(self, index, #values) + 1)
  refill(self, values)
  return removed
end

-- list[i]
local function get_by_number(self, index)
  local names = names_of(self)
  return getmetatable(self).__index[names[position_of(self, index, #names) + 1]]
end

-- list[i] = value; nil removes the entry, and those behind it move up.
local function set_by_number(self, index, value)
  if value == nil then
    remove_at(self, index)
    return
  end
  local names = names_of(self)
  put(self, names[position_of(self, index, #names) + 1], value)
end

-- A Lua array, or the values of a container.
local function array_of(self, source, what)
  if is_module(source) and source.class.__holds == self.class.__holds then return values_of(source) end
  if type(source) ~= "table" or class.is_class(source) then
    fail(("%s: %s takes an array or a list, not %s"):format(self.class.__name, what, describe(source)))
  end
  if arguments.form_of(source) == "names" then fail(("%s takes an array, not a table of names"):format(self.class.__name)) end
  return source
end

local function append(self, value)
  put(self, tostring(#self), value)
  return self
end

local function extend(self, source)
  for _, value in ipairs(array_of(self, source, "extend")) do append(self, value) end
  return self
end

local function insert(self, index, value)
  local values = values_of(self)
  value = checked(self, value, "the inserted value")
  if index < -#values or index > #values then
    fail(("%s: insert: index %d is out of range for length %d (indexes start at 0)"):format(self.class.__name, index, #values))
  end
  table.insert(values, (index < 0 and index + #values or index) + 1, value)
  refill(self, values)
  return self
end

-- What Sequential, ModuleList and ParameterList have in common. value: what they hold, in words.
local function define_list_methods(List, title, holds, value)
  List.__holds, List.__getitem, List.__setitem, List.__len = holds, get_by_number, set_by_number, count
  local method = define.methods(List, title)
  method("append", {doc = ("Adds a %s at the end; returns the list."):format(value), takes = value .. ":any", call = append})
  method("extend", {doc = ("Adds the %ss of an array or a list at the end; returns the list."):format(value), takes = value .. "s:any", call = extend})
  method("insert", {
    doc = ("Puts a %s before position index, from 0, negative from the end; those behind move back. Returns the list."):format(value),
    takes = "index:int, " .. value .. ":any",
    call = insert,
  })
  method("pop", {
    doc = ("Removes the %s at a position, the last one by default, and returns it; those behind move up."):format(value), takes = "index:int=-1", call = remove_at,
  })
  return method
end

-- Sequential -----------------------------------------------------------------------------------------------------------------------------

local Sequential = class.define("nn.Sequential", {
  parent = Module,
  doc = "Calls its modules one after the other, all values of one handed to the next. Made of modules, one array of modules, one array of {name, module} pairs, or an "
    .. "ordered map; seq[0], seq[-1], seq[\"1:3\"], #seq, seq.name.",
  example = "> nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))(lt.ones(3, 4)).shape\n{3, 2}",
})
container.Sequential = Sequential

local sequential_method = define_list_methods(Sequential, "nn.Sequential", "module", "module")
sequential_method("add", {doc = "The same as append, as Torch7 has it.", takes = "module:any", call = append})

local function is_pairs(x)
  return type(x) == "table" and (ordered.is_map(x) or not getmetatable(x) and (type(x[1]) == "table" and not class.is_class(x[1]) or arguments.form_of(x) == "names"))
end

function Sequential:__init(...)
  local first = ...
  if select("#", ...) == 1 and is_pairs(first) then
    for _, pair in ipairs(ordered.pairs_of(first)) do put(self, pair[1], pair[2]) end
    return
  end
  local single = select("#", ...) == 1 and type(first) == "table" and not class.is_class(first)
  local modules = single and array_of(self, first, "the constructor") or {n = select("#", ...), ...}
  for i = 1, modules.n or #modules do append(self, modules[i]) end
end

--- The modules of a slice, under their names.
function Sequential:__slice(text)
  local part, names = internals.allocate(self.class), names_of(self)
  for position in slices.positions(self.class.__name, text, #names) do put(part, names[position + 1], self[position]) end
  return part
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
  if not is_module(self) then internals.of(self, "forward") end
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

-- ModuleList and ParameterList -----------------------------------------------------------------------------------------------------------

local function define_list(name, holds, value, doc, example)
  local List = class.define("nn." .. name, {parent = Module, doc = doc, takes = value .. "s:any?", example = example})
  define_list_methods(List, "nn." .. name, holds, value)

  function List:__init(...)
    if select("#", ...) > 1 then fail(("%s takes one array: %s{a, b}"):format(name, name)) end
    local source = ...
    if source ~= nil then extend(self, source) end
  end

  --- The entries of a slice, numbered from 0.
  function List:__slice(text)
    local part = internals.allocate(self.class)
    for position in slices.positions(name, text, #self) do append(part, self[position]) end
    return part
  end

  function List:forward() fail(("%s has no forward; go over it with lt.enumerate"):format(self.class.__name)) end

  container[name] = List
  return List
end

define_list("ModuleList", "module", "module", "An array of modules that are registered: list[0], list[-1], list[\"1:\"], #list, `for i, m in lt.enumerate(list)`.",
  "> list = nn.ModuleList{nn.Linear(2, 2), nn.ReLU()}\n> #list, list[-1]\n2\nReLU()").__groups = true

local function shape_text(p)
  local sizes = {}
  for i = 0, #p.shape - 1 do sizes[i + 1] = tostring(p.shape[i]) end
  return table.concat(sizes, "x")
end

-- "(0): Parameter containing: [torch.float32 of size 2x3]"; dtype_text gives the dtype.
local function parameter_lines(self, dtype_text)
  local lines, fields = {}, getmetatable(self).__index
  for i, name in ipairs(names_of(self)) do
    local p = fields[name]
    local where = p.is_cuda and (" (GPU %s)"):format(p.device:match("%d+")) or ""
    lines[i] = ("  (%s): Parameter containing: [%s of size %s%s]"):format(name, dtype_text(p), shape_text(p), where)
  end
  return table.concat(lines, "\n")
end

local ParameterList = define_list("ParameterList", "parameter", "parameter",
  "An array of parameters that are registered, as ModuleList; tensors become parameters.",
  "> list = nn.ParameterList{lt.ones(2), lt.ones(2, 3)}\n> list[-1].shape\n{2, 3}")

function ParameterList:extra_repr()
  return parameter_lines(self, function(p) return (p.is_cuda and "torch.cuda." or "torch.") .. p.dtype end)
end

-- ModuleDict and ParameterDict -----------------------------------------------------------------------------------------------------------

local function pairs_array(self)
  local out = {}
  for i, key in ipairs(names_of(self)) do out[i] = {key, self[key]} end
  return out
end

local function update(self, source)
  if type(source) ~= "table" and not (is_module(source) and source.items) then
    fail(("%s: a table of names or an array of {name, value} pairs is needed, not %s"):format(self.class.__name, describe(source)))
  end
  for _, pair in ipairs(ordered.pairs_of(source)) do put(self, pair[1], pair[2]) end
end

local function has(self, key) return getmetatable(self).kind[key] == self.class.__holds end

local function pop(self, key)
  if not has(self, key) then
    fail(("%s: pop: there is no key '%s'%s"):format(self.class.__name, tostring(key), arguments.hint(key, names_of(self))))
  end
  local value = self[key]
  internals.forget(getmetatable(self), key)
  return value
end

local function define_dict(name, holds, doc, example)
  local Dict = class.define("nn." .. name, {parent = Module, doc = doc, takes = holds .. "s:map?", example = example})
  Dict.__holds, Dict.__len = holds, count

  function Dict:__init(...)
    if select("#", ...) > 1 then fail(("%s takes one table: %s{a = ...}"):format(name, name)) end
    if ... ~= nil then update(self, (...)) end
  end

  -- d[key] = value; a class below may have plain fields too.
  function Dict:__setfield(key, value)
    if value == nil or key == "training" then return false end
    local plain = not is_module(value) and not is_tensor(value) and not class.is_class(value)
    if plain and self.class ~= Dict then return false end
    put(self, key, value)
    return true
  end

  local method = define.methods(Dict, "nn." .. name)
  method("items", {doc = "{key, value} pairs in order, an array that gives two values after `in`.", call = function(self) return list.of(pairs_array(self), true) end})
  method("keys", {doc = "The keys in order, an array that can stand after `in`.", call = function(self) return list.of({unpack(names_of(self))}) end})
  method("values", {doc = "The values in order, an array that can stand after `in`.", call = function(self) return list.of(values_of(self)) end})
  method("clear", {doc = "Removes everything.", call = remove_all})
  method("has", {doc = "Is there a value under this key?", takes = "key:string", call = has})
  method("pop", {doc = "Removes the value under a key and returns it; an absent key is an error.", takes = "key:string", call = pop})
  method("update", {
    doc = "Takes over what an array of {name, value} pairs, an ordered map, another dict or a plain table (sorted by name) holds; keys that are there keep their position.",
    takes = holds .. "s:map|module",
    call = update,
  })

  container[name] = Dict
  return Dict, method
end

define_dict("ModuleDict", "module", "Modules by name, registered: d[name], d[name] = module, d[name] = nil; made of {name, module} pairs, which keep their order, or of a "
  .. "plain table, which is taken sorted by name.", "> nn.ModuleDict{{\"lrelu\", nn.LeakyReLU()}, {\"act\", nn.ReLU()}}.act\nReLU()")

local ParameterDict, parameter_method = define_dict("ParameterDict", "parameter",
  "Parameters by name, registered, as ModuleDict; tensors become parameters.", "> nn.ParameterDict{left = lt.ones(2), right = lt.ones(3)}.right.shape\n{3}")

local tensor_names = {
  float32 = "FloatTensor", float64 = "DoubleTensor", float16 = "HalfTensor", bfloat16 = "BFloat16Tensor", int8 = "CharTensor", int16 = "ShortTensor",
  int32 = "IntTensor", int64 = "LongTensor", uint8 = "ByteTensor", bool = "BoolTensor",
}

function ParameterDict:extra_repr()
  return parameter_lines(self, function(p) return (p.is_cuda and "torch.cuda." or "torch.") .. tensor_names[p.dtype] end)
end

parameter_method("get", {
  doc = "The value under a key, or default.", takes = "key:string, default:any?",
  call = function(self, key, default)
    if has(self, key) then return self[key] end
    return default
  end,
})

parameter_method("setdefault", {
  doc = "The value under a key, which becomes default where there is none.", takes = "key:string, default:any?",
  call = function(self, key, default)
    if not has(self, key) then put(self, key, default) end
    return self[key]
  end,
})

parameter_method("popitem", {
  doc = "Removes the last entry and returns its key and value.", several = true,
  call = function(self)
    local names = names_of(self)
    if #names == 0 then fail(self.class.__name .. ": popitem: it is empty") end
    local key = names[#names]
    return key, pop(self, key)
  end,
})

parameter_method("copy", {doc = "Another dict of the same parameters.", call = function(self) return self.class(pairs_array(self)) end})

parameter_method("fromkeys", {
  doc = "A new dict that holds default under each of the keys.", takes = "keys:table, default:any",
  call = function(self, keys, default)
    local entries = {}
    for i, key in ipairs(keys) do entries[i] = {key, default} end
    return self.class(entries)
  end,
})

return container
