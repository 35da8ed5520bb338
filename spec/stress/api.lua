--- Every public function and method, found by walking the tables that scripts see.

local lt = require("lunette")
local base = require("lunette.ffi")
local catalog = require("lunette.catalog")
local derive = require("lunette.derive")
local ops = require("lunette.ops")

local api = {}

local function is_class(value) return type(value) == "table" and getmetatable(value) ~= nil and getmetatable(value).__call ~= nil end

--- {name =, fn =, self = the text of the object, for methods; method =, signatures = lists of parameters, as far as they are known}; a method with a
--- `fn` is what a script writes otherwise.
local entries = {}

local function add(entry) entries[#entries + 1] = entry end

local KINDS = {number = "float", sizes = "ints", size = "ints"}

--- {name, kind, optional, choices} for a parameter of a signature.
local function parameter(param)
  local kind = param.kind:match("^%a+") or "tensor"
  return {name = param.name, kind = KINDS[kind] or kind, optional = param.tail ~= "", choices = param.kind:match("^enum%((.-)%)")}
end

local function params_of(text)
  local params = {}
  for _, param in ipairs(derive.params(text)) do
    if param.name ~= "*" then params[#params + 1] = parameter(param) end
  end
  return params
end

local forms = {}
for _, info in ipairs(ops.list) do
  forms[info.public_name] = forms[info.public_name] or {}
  table.insert(forms[info.public_name], info.params)
end

local function signatures_of(name, fn)
  local entry = fn and catalog.of(fn)
  if entry and entry.signature and entry.signature ~= "..." then return {params_of(entry.signature)} end
  return forms[name] or forms[name:gsub("_$", "")]
end

--- What the library calls in subclasses of Optimizer and LRScheduler: for who writes one, not for scripts.
local PROTECTED = {}
for _, name in ipairs{"setup", "check_group", "check_number", "check_bool", "block_of", "step_group", "next_lr", "get_lr", "go_to", "refuse", "for_groups",
  "attach", "note_rates", "begin", "declare"} do PROTECTED[name] = true end

local function is_public(name) return type(name) == "string" and not name:find("^_") end

--- Methods of the object that `self` makes, from the class tables behind it.
local function add_methods(self, ...)
  local seen = {}
  for _, class in ipairs{...} do
    while type(class) == "table" do
      for name, fn in pairs(class) do
        if is_public(name) and type(fn) == "function" and not seen[name] and not PROTECTED[name] then
          seen[name] = true
          add{name = self .. ":" .. name, self = self, method = name}
        end
      end
      local meta = getmetatable(class)
      class = meta and meta.__index
    end
  end
end

local function add_functions(prefix, package)
  for name, value in pairs(package) do
    if is_public(name) and (type(value) == "function" or is_class(value)) then
      add{name = prefix .. "." .. name, fn = value, signatures = signatures_of(name, value)}
    end
  end
end

local function tensor_methods()
  local names = {}
  for name, value in pairs(base.T) do
    if type(value) == "function" then names[name] = true end
  end
  for _, name in ipairs(ops.names()) do
    if base.T[name] then names[name] = true end
    if base.T[name .. "_"] then names[name .. "_"] = true end
  end
  for name in pairs(names) do add{name = "x:" .. name, self = "tensor", method = name, signatures = signatures_of(name)} end
end

local function tensor_functions()
  local names = {}
  for _, name in ipairs(ops.names()) do names[name] = lt[name] end
  for name, value in pairs(lt) do
    if type(value) == "function" then names[name] = value end
  end
  for name, fn in pairs(names) do add{name = "lt." .. name, fn = fn, signatures = signatures_of(name, fn)} end
end

--- What scripts write without a name: indexes, fields, operators. `fn` gets the object first.
local function add_sign(self, name, fn) add{name = self .. ":" .. name, self = self, method = name, fn = fn} end

local INDEXED = {"tensor", "x.shape", "net", "nn.ModuleList{nn.ReLU()}", "nn.ModuleDict{a = nn.ReLU()}", "nn.ParameterList{nn.Parameter(y)}",
  "nn.ParameterDict{a = nn.Parameter(y)}", "optimizer", "optimizer.param_groups[1]", "scheduler", "dataset", "loader", "generator", "lt", "nn", "optim"}

local function signs()
  for _, self in ipairs(INDEXED) do
    add_sign(self, "index", function(object, key) return object[key] end)
    if self ~= "generator" then add_sign(self, "length", function(object) return #object end) end
  end
  for i = 1, 13 do -- not the packages, which would stay changed
    add_sign(INDEXED[i], "assign", function(object, key, value)
      if key ~= nil then object[key] = value end
    end)
  end
  add_sign("tensor", "plus", function(a, b) return a + b end)
  add_sign("tensor", "subtracted_from", function(a, b) return b - a end)
  add_sign("tensor", "times", function(a, b) return a * b end)
  add_sign("tensor", "divides", function(a, b) return b / a end)
  add_sign("tensor", "modulo", function(a, b) return a % b end)
  add_sign("tensor", "to_the_power", function(a, b) return a ^ b end)
  add_sign("tensor", "negated", function(a) return -a end)
  add_sign("net", "called", function(net, ...) return net(...) end)
  add_sign("dataset", "item", function(dataset, i) return dataset:get(i) end)
  for _, name in ipairs{"data", "grad", "requires_grad"} do
    add_sign("tensor", name, function(x, value) x[name] = value end)
  end
  for _, name in ipairs{"lr", "params", "momentum", "bogus"} do
    add_sign("optimizer", "group_" .. name, function(optimizer, value)
      optimizer.param_groups[1][name] = value
      optimizer:step()
    end)
  end
end

local function collect()
  signs()
  tensor_functions()
  for _, name in ipairs{"grad", "backward", "detect_anomaly", "gradcheck", "gradgradcheck"} do
    add{name = "lt.autograd." .. name, fn = lt.autograd[name]}
  end
  add_functions("F", lt.nn.functional)
  add_functions("nn.init", lt.nn.init)
  add_functions("nn", lt.nn)
  add_functions("nn.utils", lt.nn.utils)
  for _, name in ipairs{"rnn", "prune", "parametrize", "parametrizations"} do add_functions("nn.utils." .. name, lt.nn.utils[name]) end
  add_functions("lt.func", lt.func)
  add_functions("optim", lt.optim)
  add_functions("optim.lr_scheduler", lt.optim.lr_scheduler)
  add_functions("data", lt.data)
  add_functions("lt.cuda", lt.cuda)
  tensor_methods()
  add_methods("net", lt.nn.Sequential)
  add_methods("nn.ModuleList{nn.ReLU()}", lt.nn.ModuleList)
  add_methods("nn.ModuleDict{a = nn.ReLU()}", lt.nn.ModuleDict)
  add_methods("nn.ParameterList{nn.Parameter(y)}", lt.nn.ParameterList)
  add_methods("nn.ParameterDict{a = nn.Parameter(y)}", lt.nn.ParameterDict)
  add_methods("optimizer", lt.optim.SGD)
  add_methods("adam", lt.optim.Adam)
  add_methods("scheduler", lt.optim.lr_scheduler.StepLR)
  add_methods("dataset", lt.data.TensorDataset)
  add_methods("loader", lt.data.DataLoader)
  add_methods("generator", getmetatable(lt.default_generator))
  add{name = "x.shape:unpack", self = "x.shape", method = "unpack"}
  add{name = "x.shape:totable", self = "x.shape", method = "totable"}
  table.sort(entries, function(a, b) return a.name < b.name end)
end

collect()
api.entries = entries

--- The function of an entry for an object, nil for a function.
function api.method(entry, object) return entry.fn or object[entry.method] end

--- Called after each function that is tried, since some change what the process computes with.
function api.restore(threads)
  lt.set_num_threads(threads)
  lt.set_grad_enabled(true)
  lt.set_default_device(os.getenv("LUNETTE_TEST_DEVICE") or "cpu")
end

return api
