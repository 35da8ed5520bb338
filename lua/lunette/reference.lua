--- The reference: every public thing under its qualified name, "lt.softmax", "F.relu", "nn.Linear", "nn.Module:parameters", "Tensor:view_as". help, the
--- pages that docs/build.lua writes and the specs go over it.
--
-- Operators and what is declared say themselves what they take and do (catalog.lua); of any other function the comment above its definition is read
-- from its file.

local each = require("lunette.each")
local arguments = require("lunette.arguments")
local base = require("lunette.ffi")
local catalog = require("lunette.catalog")
local class = require("lunette.class")
local lazily = require("lunette.lazily")

local type, ipairs, rawget, getmetatable, setmetatable, sort = type, ipairs, rawget, getmetatable, setmetatable, table.sort

local reference = {}

-- Comments ---------------------------------------------------------------------------------------------------------------------------------

-- path -> its lines, kept as long as nobody needs the memory
local files = setmetatable({}, {__mode = "v"})

local function lines_of(path)
  if files[path] then return files[path] end
  local lines, file = {}, io.open(path)
  if file then
    for line in file:lines() do lines[#lines + 1] = line end
    file:close()
  end
  files[path] = lines
  return lines
end

-- The comment above a function, if it begins with three hyphens, as one text; and the names of the function's parameters.
local function source_of(fn)
  local info = debug.getinfo(fn, "S")
  local path = info.source:match("^@(.*)$")
  if not path then return nil end
  local lines, words = lines_of(path), {}
  local i = info.linedefined - 1
  while lines[i] and lines[i]:find("^%s*%-%-") do
    table.insert(words, 1, lines[i]:match("^%s*%-%-%-?%s*(.*)$"))
    i = i - 1
  end
  local marked = lines[i + 1] and lines[i + 1]:find("^%s*%-%-%- ")
  local takes = (lines[info.linedefined] or ""):match("function[^(]*%((.-)%)")
  return marked and table.concat(words, " ") or nil, takes
end

--- The comment above a function, if it begins with three hyphens.
function reference.comment(fn) return (source_of(fn)) end

-- The signature of the parser of this name that a function uses.
local function parsed_by(fn, name)
  local i = 1
  while true do
    local known, value = debug.getupvalue(fn, i)
    if not known then return nil end
    local signature = type(value) == "function" and arguments.signature_of(value)
    if signature and signature.name == name then return signature.text end
    i = i + 1
  end
end

-- Examples -------------------------------------------------------------------------------------------------------------------------------

local root = debug.getinfo(1, "S").source:match("^@?(.*)reference%.lua$")

--- name -> what is typed at the prompt after "> " and what that prints: entries of examples/PAGE.txt, each below a line "## name".
function reference.examples()
  local out = {}
  for page in ("lt tensors autograd layers modules parallel functional init utils data optim metrics"):gmatch("%a+") do
    local file = assert(io.open(root .. "examples/" .. page .. ".txt"))
    local text = ("\n\n" .. file:read("*a")):gsub("\n\n## ", "\1"):gsub("%s+$", "")
    file:close()
    for name, example in text:gmatch("\1(%S+)\n([^\1]+)") do out[name] = example end
  end
  return out
end

-- Entries ----------------------------------------------------------------------------------------------------------------------------------

local function is_public(name) return type(name) == "string" and not name:find("^_") end

local function sorted_names(t)
  local names = {}
  for name in each(t) do
    if is_public(name) then names[#names + 1] = name end
  end
  sort(names)
  return names
end

-- What is known about a function, or about one that it stands for until it is called.
local function known_about(fn)
  return fn and (catalog.of(fn) or known_about(lazily.behind(fn)))
end

local function function_entry(title, fn)
  local known = known_about(fn) or {}
  fn = lazily.real(fn)
  local origin = lazily.real(catalog.origin(fn))
  local doc, takes = known.doc, nil
  if not doc then doc, takes = source_of(origin) end
  local signature = known.signature or parsed_by(origin, title:match("[%w_]+$")) or takes or "..."
  return {
    name = title, thing = fn, signatures = known.signatures or {signature}, doc = doc, example = known.example, rows = known.rows,
    is_alias = known.name ~= nil and known.name ~= title,
  }
end

-- Does the class have a method of its own that is no other form of one of the classes above?
local function is_own_method(owner, layer, name)
  local parent, known = class.parent_of(owner), type(rawget(owner, name)) == "function" and catalog.of(rawget(owner, name))
  if known and known.name and known.name:match("([^.:]+):") ~= owner.__name then return false end
  return type(rawget(owner, name)) == "function" and not (parent and parent[name] ~= nil) and not (layer and name == "setup")
end

local function add_class(title, owner, out)
  local known = catalog.of(owner) or {}
  local layer = known.declaration
  out[#out + 1] = {
    name = title, thing = owner, is_class = true, signatures = {known.signature or "..."}, doc = known.doc, example = known.example,
    forward = layer and layer.input, tensors = layer and layer.tensors,
  }
  for _, name in ipairs(sorted_names(owner)) do
    if is_own_method(owner, layer, name) then out[#out + 1] = function_entry(title .. ":" .. name, owner[name]) end
  end
end

local function add_package(title, package, names, out)
  for _, name in ipairs(names) do
    local thing = is_public(name) and package[name]
    if class.is_class(thing) then
      add_class(title .. name, thing, out)
    elseif type(thing) == "function" then
      out[#out + 1] = function_entry(title .. name, thing)
    end
  end
end

-- The methods of tensors that are no operators.
local function own_methods()
  local names = {}
  for _, name in ipairs(sorted_names(base.T)) do
    local known = catalog.of(base.T[name])
    if not (known and known.rows) then names[#names + 1] = name end
  end
  return names
end

local function collect()
  local lt, out = require("lunette"), {}
  add_package("lt.", lt, getmetatable(lt).__names(), out)
  add_package("Tensor:", base.T, own_methods(), out)
  local packages = {
    {"lt.autograd.", lt.autograd},
    {"lt.linalg.", lt.linalg},
    {"lt.func.", lt.func},
    {"lt.cuda.", lt.cuda},
    {"data.", lt.data},
    {"nn.", lt.nn},
    {"F.", lt.nn.functional},
    {"nn.init.", lt.nn.init},
    {"nn.parallel.", lt.nn.parallel},
    {"nn.utils.", lt.nn.utils},
    {"nn.utils.hooks.", lt.nn.utils.hooks},
    {"nn.utils.rnn.", lt.nn.utils.rnn},
    {"nn.utils.prune.", lt.nn.utils.prune},
    {"nn.utils.parametrize.", lt.nn.utils.parametrize},
    {"nn.utils.parametrizations.", lt.nn.utils.parametrizations},
    {"optim.", lt.optim},
    {"optim.lr_scheduler.", lt.optim.lr_scheduler},
    {"optim.swa_utils.", lt.optim.swa_utils},
    {"metrics.", lt.metrics},
  }
  for _, package in ipairs(packages) do
    local names = getmetatable(package[2]) and getmetatable(package[2]).__names
    add_package(package[1], package[2], names and names() or sorted_names(package[2]), out)
  end
  local examples = reference.examples()
  for _, entry in ipairs(out) do
    assert(not (examples[entry.name] and entry.example), entry.name .. " has two examples")
    entry.example = examples[entry.name] or entry.example
  end
  return out
end

local all

--- All entries, package by package, by name: {name =, thing =, signatures = {...}, doc =, example =}; of a class is_class, of a layer forward (the
--- signature of its call) and tensors (the texts of its parameters and buffers) too; of operators `rows`, the names of their rows.
function reference.entries()
  all = all or collect()
  return all
end

-- Finding ----------------------------------------------------------------------------------------------------------------------------------

-- "lt.nn.functional.relu" is F.relu, and so on.
local function normal(name)
  return (name:gsub("^lt%.nn", "nn"):gsub("^lt%.optim", "optim"):gsub("^lt%.data", "data"):gsub("^nn%.functional", "F"))
end

local function by_name(name)
  local out, short = {}, {}
  name = normal(name)
  for _, entry in ipairs(reference.entries()) do
    if entry.name == name then out[1] = entry end
    if entry.name:match("[%w_]+$") == name then short[#short + 1] = entry end
  end
  return #out > 0 and out or short
end

local function by_thing(thing)
  thing = lazily.real(thing)
  for _, entry in ipairs(reference.entries()) do
    if entry.thing == thing and not entry.is_alias then return {entry} end
  end
  return {}
end

-- The class of a module or an object, the nearest one that the reference knows.
local function by_class(owner)
  while owner do
    local found = by_thing(owner)
    if #found > 0 then return found end
    owner = class.parent_of(owner)
  end
  return {}
end

--- The entries of a name (qualified, or all of a bare one), of a function, of a class, or of the class of a module or object.
function reference.find(subject)
  if type(subject) == "string" then return by_name(subject) end
  if type(subject) == "function" then return by_thing(subject) end
  if class.is_class(subject) then return by_class(subject) end
  if class.is_instance(subject) then return by_class(subject.class) end
  return {}
end

return reference
