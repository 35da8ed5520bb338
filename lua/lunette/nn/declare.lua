--- Layers, declared. One declaration carries what is to be said about a layer; the constructor, its fields and checks, the parameters and their
--- starting values, the check of what forward is called with, the text, help, the reference and the specs come from it.
--
--     linear.Bilinear = declare("Bilinear", {
--       doc = "y[..., k] = sum_ij input1[..., i] weight[k, i, j] input2[..., j] + bias[k].",
--       takes = "in1_features:int>0, in2_features:int>0, out_features:int>0, bias:bool=true",
--       parameters = {
--         "weight(out_features, in1_features, in2_features) = uniform(1 / sqrt(in1_features))",
--         "bias(out_features) = uniform(1 / sqrt(in1_features)) if bias",
--       },
--       input = "input1:tensor, input2:tensor",
--       of = "bilinear",
--       text = "in1_features in2_features out_features bias",
--     })
--
-- doc         one sentence; that of `of` when left out
-- takes       the signature of the constructor (arguments.lua). What it leaves out stands in the signature of the function `of`; a default may be the
--             name of another argument. Layers with parameters or buffers also take device and dtype. Every argument becomes a field, except those
--             that name a parameter, that begin with _ or that `setup` removes; lt.None becomes nil.
-- of          the function of F, or the operator, that forward calls with the input, the fields of the same names, and `training`
-- input       the signature of forward, "input:tensor" when left out; `several`: forward returns more than one value
-- parameters, buffers   in order: name, dtype if it is not the layer's, shape, starting value, condition, as in
--             "num_batches_tracked:int64() = 0 if track_running_stats"; shape, value and condition are Lua expressions over arguments and fields.
--             A tensor among the arguments of that name is taken as it is; a name alone is only that
-- text        what stands in the brackets of the layer's text: `a` is a=value, `!a` the value alone, `a?` is left out at its default, `'a'` is quoted,
--             `.a` is a float whatever its value
-- example     a session at the prompt, executed by the specs
-- parent      the class below nn.Module that holds methods
--
-- Methods that a layer adds: setup(self, given) after the fields are stored, for checks and fields that need several arguments; given holds the
-- arguments by name. forward(self, ...) in place of `of`; its arguments are checked. Everything else as in any class.

local each = require("lunette.each")
local arguments = require("lunette.arguments")
local catalog = require("lunette.catalog")
local class = require("lunette.class")
local define = require("lunette.define")
local derive = require("lunette.derive")
local lazily = require("lunette.lazily")
local ops = require("lunette.ops")
local F = require("lunette.nn.functional")
local internals = require("lunette.nn.internals")
local Parameter = require("lunette.nn.parameter").Parameter
local repr = require("lunette.nn.repr")

local Module, fail, None = internals.Module, arguments.fail, arguments.None
local ipairs, rawequal, rawget, select, setmetatable, tonumber, type = ipairs, rawequal, rawget, select, setmetatable, tonumber, type

local INPUT = "input:tensor"

-- Expressions ----------------------------------------------------------------------------------------------------------------------------

-- How starting values are made.
local fillers = {sqrt = math.sqrt}

--- U(-bound, bound); a bound that is infinite, since nothing comes in, is 0.
function fillers.uniform(bound)
  if bound == math.huge then bound = 0 end
  return function(t) t:uniform_(-bound, bound) end
end

--- N(0, 1).
function fillers.normal() return function(t) t:normal_(0, 1) end end

local KEYWORDS = {["and"] = true, ["or"] = true, ["not"] = true, ["true"] = true, ["false"] = true, ["nil"] = true}

-- A function of a table `env` that computes a Lua expression, the names in which are fields of `env`.
local function expression(text)
  local code = (" " .. text):gsub("([^%w_.:])([%a_][%w_]*)", function(before, name)
    if not KEYWORDS[name] then return before .. "env." .. name end
  end)
  return assert(loadstring("local env = ... return" .. code, "=lunette.layer"))
end

-- The value of an expression over the arguments in `given` and the fields of the module.
local function evaluate(fn, self, given)
  return fn(setmetatable({}, {
    __index = function(_, name)
      local value = given and given[name]
      if value == nil then value = self[name] end
      if value == nil then value = fillers[name] end
      return value
    end,
  }))
end

-- Parameters and buffers -------------------------------------------------------------------------------------------------------------------

-- "name:dtype(shape) = value if condition"
local function read_tensor(text)
  local name, dtype, shape, rest = text:match("^([%w_]+):?(%w*)(%b())%s*(.*)$")
  if not name then return {name = text} end
  local rest_value, condition = rest:match("^(.-)%s*%f[%w]if%s+(.+)$")
  local value = (rest_value or rest):match("^=%s*(.-)%s*$")
  return {
    name = name, dtype = dtype ~= "" and dtype or nil, shape = expression("{" .. shape:sub(2, -2) .. "}"),
    value = value and expression(value), condition = condition and expression(condition),
  }
end

local function read_tensors(list)
  local out = {}
  for i, text in ipairs(list or {}) do out[i] = read_tensor(text) end
  return out
end

local function make_tensor(self, tensor, given, missing)
  if arguments.is_tensor(given[tensor.name]) then return given[tensor.name] end
  if not tensor.shape or tensor.condition and not evaluate(tensor.condition, self, given) then return nil end
  local dtype, shape = tensor.dtype or given.dtype or "float32", evaluate(tensor.shape, self, given)
  local unknown = missing and #shape > 0
  return require("lunette.create").empty(unknown and {0} or shape, {dtype = dtype, device = given.device}), unknown
end

-- Of a lazy layer whatever has a shape waits for it.
local function settled(t, unknown) return unknown and internals.set_uninitialized(t) or t end

local function register_all(self, declaration, given)
  for _, tensor in ipairs(declaration.parameters) do
    local t, unknown = make_tensor(self, tensor, given, declaration.missing)
    self:register_parameter(tensor.name, t ~= nil and settled(internals.is_parameter(t) and t or Parameter(t), unknown) or nil)
  end
  for _, tensor in ipairs(declaration.buffers) do
    local t, unknown = make_tensor(self, tensor, given, declaration.missing)
    self:register_buffer(tensor.name, settled(t, unknown))
  end
end

local function start(self, tensor)
  local t = self[tensor.name]
  if t == nil or not tensor.value then return end
  local value = evaluate(tensor.value, self)
  if type(value) == "number" then t.data:fill_(value) else value(t.data) end
end

--- Gives the uninitialised tensors of a lazy layer their shapes, and all their starting values, as in the class `owner`.
local function materialize(self, owner)
  local declaration = owner.__declaration()
  for _, list in ipairs({declaration.parameters, declaration.buffers}) do
    for _, tensor in ipairs(list) do
      local t = self[tensor.name]
      if internals.is_uninitialized(t) then internals.materialize(t, evaluate(tensor.shape, self)) end
    end
  end
  self:reset_parameters()
end

-- What all layers can do -------------------------------------------------------------------------------------------------------------------

local Layer = Module:subclass("Layer")

-- The values of the constructor's arguments by name; an absent one whose default is another argument takes that one's.
local function named(declaration, ...)
  local given = {}
  for i, name in ipairs(declaration.names) do given[name] = (select(i, ...)) end
  for name, other in each(declaration.like) do
    if given[name] == nil then given[name] = given[other] end
  end
  return given
end

local function store_fields(self, declaration, given)
  for _, name in ipairs(declaration.fields) do
    local value = given[name]
    if not rawequal(value, None) then self[name] = value end
  end
end

-- Was a parameter handed over with its values?
local function has_values(declaration, given)
  for _, tensor in ipairs(declaration.parameters) do
    if arguments.is_tensor(given[tensor.name]) then return true end
  end
  return false
end

--- Checks the arguments, stores them and makes the tensors. Returns the arguments by name.
function Layer:__init(...)
  local declaration = self.__declaration()
  local given = named(declaration, declaration.parse(...))
  store_fields(self, declaration, given)
  if self.setup then self:setup(given) end
  register_all(self, declaration, given)
  if not has_values(declaration, given) then self:reset_parameters() end
  return given
end

--- Gives parameters and buffers their starting values.
function Layer:reset_parameters()
  local declaration = self.__declaration()
  for _, tensor in ipairs(declaration.parameters) do start(self, tensor) end
  for _, tensor in ipairs(declaration.buffers) do start(self, tensor) end
end

-- A value as the text shows it. Lua does not tell 1 from 1.0: a number of any kind is a float when it is the default, else as short as it can be.
local function shown(word, value)
  if word.bool and type(value) ~= "boolean" then value = value ~= nil end
  if word.float or word.number and value ~= nil and value == word.default then return repr.float(value) end
  if type(value) == "string" and not word.quoted then return value end
  return repr.value(value)
end

local function is_default(word, value)
  if word.bool and type(value) ~= "boolean" then value = value ~= nil end
  if arguments.is_size(value) and type(word.default) == "number" then
    for i = 0, #value - 1 do
      if value[i] ~= word.default then return false end
    end
    return true
  end
  return value == word.default
end

function Layer:extra_repr()
  local out = {}
  for _, word in ipairs(self.__declaration().text) do
    local value = self[word.name]
    if not (word.optional and is_default(word, value)) then
      out[#out + 1] = (word.bare and "" or word.name .. "=") .. shown(word, value)
    end
  end
  return table.concat(out, ", ")
end

-- Reading a declaration --------------------------------------------------------------------------------------------------------------------

local function read_word(text, params)
  local word = {bare = text:find("^!") ~= nil, optional = text:find("?", 1, true) ~= nil, quoted = text:find("'", 1, true) ~= nil,
    float = text:find(".", 1, true) ~= nil}
  word.name = text:match("[%w_]+")
  local param = params[word.name]
  if param then
    local default = param.tail:match("^=(.*)$")
    word.bool, word.number = param.kind == "bool", param.kind:find("^number") ~= nil
    word.default = default and (tonumber(default) or default == "true" or default ~= "false" and default)
  end
  return word
end

local function read_text(text, params)
  local out = {}
  for word in (text or ""):gmatch("%S+") do out[#out + 1] = read_word(word, params) end
  return out
end

-- The function that a layer is made of, and its signature.
local function function_of(name)
  return define.behind(rawget(F, name)) or assert(ops[name], name)
end

local function signature_of(name)
  local entry = rawget(F, name) and catalog.of(F[name])
  return entry and entry.signature or define.row(name), entry and entry.doc or ops.info[name].doc
end

-- Is there a tensor that the layer makes itself?
local function makes_tensors(lists)
  for _, list in ipairs(lists) do
    for _, tensor in ipairs(list) do
      if tensor.shape then return true end
    end
  end
  return false
end

-- The constructor's signature: with what `of` and the layer's tensors add, and without defaults that are other arguments.
local function constructor_signature(takes, of, tensors, like)
  local text = takes or ""
  if of then text = derive.signature(text, (signature_of(of))) end
  if makes_tensors(tensors) then
    local plain, by_name = text:match("^(.-),?%s*(%*.*)$")
    text = (plain or text) .. ", device:device?, dtype:dtype?" .. (by_name and ", " .. by_name or "")
  end
  local known, out = {}, derive.params(text)
  for _, param in ipairs(out) do
    local default = param.tail:match("^=(.*)$")
    if known[default] then
      like[param.name] = default
      param.tail = "?"
    end
    known[param.name] = true
  end
  return derive.text(out)
end

-- Which arguments become fields.
local function fields_of(names, tensors)
  local own, out = {device = true, dtype = true}, {}
  for _, list in ipairs(tensors) do
    for _, tensor in ipairs(list) do own[tensor.name] = true end
  end
  for _, name in ipairs(names) do
    if not own[name] and name:sub(1, 1) ~= "_" then out[#out + 1] = name end
  end
  return out
end

-- The names of a signature in order, and the parameters by name.
local function index_of(signature)
  local names, params = {}, {}
  for _, param in ipairs(derive.params(signature)) do
    if param.name ~= "*" then names[#names + 1], params[param.name] = param.name, param end
  end
  return names, params
end

-- What a declaration says in full, worked out when the first module of the class is made or somebody asks.
local function read_declaration(name, given)
  local parameters, buffers, like = read_tensors(given.parameters), read_tensors(given.buffers), {}
  local signature = constructor_signature(given.takes, given.of, {parameters, buffers}, like)
  local names, params = index_of(signature)
  return {
    name = name, doc = given.doc or select(2, signature_of(given.of)), signature = signature, names = names, like = like,
    input = given.input or INPUT, parse = arguments.signature(name, signature), parameters = parameters, buffers = buffers,
    fields = fields_of(names, {parameters, buffers}), text = read_text(given.text, params), tensors = {given.parameters or {}, given.buffers or {}},
  }
end

-- Forward --------------------------------------------------------------------------------------------------------------------------------

-- The code of a forward that calls a function of F: what forward is given stands first, the rest are fields.
local function forward_text(declaration, of, several)
  local values, inputs, fields, last = {}, index_of(declaration.input), {training = true}, 0
  local _, given = index_of(declaration.input)
  for _, list in ipairs({declaration.parameters, declaration.buffers}) do
    for _, tensor in ipairs(list) do fields[tensor.name] = true end
  end
  for _, name in ipairs(declaration.fields) do fields[name] = true end
  for i, param in ipairs(derive.params((signature_of(of)))) do
    values[i] = given[param.name] and param.name or fields[param.name] and "self." .. param.name or "nil"
    if values[i] ~= "nil" then last = i end
  end
  local call = ("fn(%s)"):format(table.concat(values, ", ", 1, last))
  return ("local fn = ... return function(self, %s) return %s end"):format(table.concat(inputs, ", "), several and call or "(" .. call .. ")")
end

local function make_forward(owner, given)
  return lazily.made(function()
    return assert(loadstring(forward_text(owner.__declaration(), given.of, given.several), "=lunette.forward"))(function_of(given.of))
  end)
end

-- `forward` with a check of what it is called with.
local function checked(name, given, forward)
  local parse = arguments.signature(name, given.input or INPUT)
  local function refuse(self)
    fail(("forward is a method, called with a colon, m:forward(...), or by calling the module; its first value is %s, not a module %s"):format(
      arguments.describe(self), name))
  end
  if given.several then
    return function(self, ...)
      if type(self) ~= "userdata" then refuse(self) end
      return forward(self, parse(...))
    end
  end
  return function(self, ...)
    if type(self) ~= "userdata" then refuse(self) end
    return (forward(self, parse(...)))
  end
end

--- The class of a layer (see the head of this file).
local function declare(name, given)
  local owner, declaration = (given.parent or Layer):subclass(name), nil
  function owner.__declaration()
    declaration = declaration or read_declaration(name, given)
    return declaration
  end
  internals.check_forward(owner, function(forward) return checked(name, given, forward) end, not given.several)
  if given.of then owner.forward = make_forward(owner, given) end
  return catalog.add(owner, {name = "nn." .. name, example = given.example, complete = function(entry)
    local full = owner.__declaration()
    entry.signature, entry.doc, entry.declaration = full.signature, full.doc, full
  end})
end

--- A method of a class that is called on the class, `nn.Embedding:from_pretrained(w)`, declared as functions are (define.lua); what `takes` leaves
-- out stands in the constructor's signature.
local function class_method(owner, name, given)
  local title = owner.__name .. ":" .. name
  local function signature() return derive.signature(given.takes, owner.__declaration().signature) end
  local parse = lazily.made(function() return arguments.signature(name, signature()) end)
  owner[name] = function(self, ...)
    if not class.is_class(self) then fail(("%s is a method of a class, called with a colon: nn.%s(...)"):format(name, title)) end
    return given.call(self, parse(...))
  end
  catalog.add(owner[name], {name = "nn." .. title, doc = given.doc, complete = function(entry) entry.signature = signature() end})
end

return setmetatable({Layer = Layer, class_method = class_method, materialize = materialize}, {__call = function(_, ...) return declare(...) end})
