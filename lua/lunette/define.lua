--- Public functions and methods, declared: name, sentence, signature and what they do.
--
--     local define = require("lunette.define").into(F, "F")
--     define("dropout", {
--       doc = "...",
--       takes = "input, p[0,1], training, inplace:bool=false",
--       call = function(input, p, training, inplace) ... end,
--     })
--
-- A name alone declares the operator of that name. What `takes` leaves out stands in the row of the operator of the same name (of `row`, when that is given): see derive.lua. The function checks
-- its arguments; `call` gets their values in order, defaults filled in.

local arguments = require("lunette.arguments")
local catalog = require("lunette.catalog")
local class = require("lunette.class")
local derive = require("lunette.derive")
local lazily = require("lunette.lazily")
local ops = require("lunette.ops")

local define = {}

--- The signature of an operator.
function define.row(name)
  return ops.signature(ops.info[name])
end

local operators = {}

--- The operator behind a member of a package that is one as it stands, else the function itself.
function define.behind(fn)
  return operators[fn] and ops[operators[fn]] or fn
end

-- A member that is the operator of its name.
local function add_operator(package, title, name)
  local fn = lazily.made(function() return ops[name] end)
  package[name], operators[fn] = fn, name
  return catalog.add(fn, {name = title .. "." .. name, complete = function(entry) entry.signature, entry.doc = define.row(name), ops.info[name].doc end})
end

-- A member that stands for several forms, each {takes =, call =}; they are tried in this order.
local function add_forms(package, title, name, declaration)
  local texts = {}
  for i, form in ipairs(declaration.forms) do texts[i] = form.takes end
  local fn = lazily.made(function()
    local forms = {}
    for i, form in ipairs(declaration.forms) do
      local all = form.takes:gsub("%*,%s*", "") -- an overload hands all values on by position
      forms[i] = {fn = arguments.method(name, all, form.call), spec = arguments.read(name, form.takes)}
    end
    return arguments.overload(name, forms)
  end)
  package[name] = fn
  return catalog.add(fn, {name = title .. "." .. name, forms = texts, signatures = texts, signature = texts[#texts], doc = declaration.doc})
end

--- A function that declares others as members of `package`, which scripts call `title`.
function define.into(package, title)
  return function(name, declaration)
    if not declaration then return add_operator(package, title, name) end
    if declaration.forms then return add_forms(package, title, name, declaration) end
    local row, call = declaration.row or name, declaration.call
    local function signature()
      return ops.info[row] and derive.signature(declaration.takes, define.row(row)) or declaration.takes
    end
    local parse = lazily.made(function() return arguments.signature(name, signature()) end)
    local fn = declaration.several and function(...) return call(parse(...)) end or function(...) return (call(parse(...))) end
    package[name] = fn
    return catalog.add(fn, {name = title .. "." .. name, complete = function(entry)
      entry.signature, entry.doc, entry.example = signature(), declaration.doc or ops.info[row].doc, declaration.example
    end})
  end
end

--- A function that declares methods of a class, which scripts call `title`: as `into`, `call` gets the object first; `takes` is "" when left out.
function define.methods(owner, title)
  return function(name, declaration)
    local call, signature = declaration.call, declaration.takes or ""
    local parse = arguments.signature(name, signature)
    local function check(self)
      if class.isinstance(self, owner) then return end
      arguments.fail(("%s is a method, called with a colon: m:%s(...); its first value must be an object of the class %s, not %s"):format(
        name, name, title, arguments.describe(self)))
    end
    local fn = declaration.several and function(self, ...)
      check(self)
      return call(self, parse(...))
    end or function(self, ...)
      check(self)
      return (call(self, parse(...)))
    end
    owner[name] = fn
    return catalog.add(fn, {name = title .. ":" .. name, signature = signature, doc = declaration.doc, example = declaration.example})
  end
end

return define
