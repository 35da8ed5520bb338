--- help "softmax", help(lt.softmax): what an operator does and takes, from the operator table.

local each = require("lunette.each")
local ops = require("lunette.ops")
local arguments = require("lunette.arguments")

local help = {}

--- The text about an operator: its signature and what it does.
function help.text(info)
  return ("lt.%s(%s)\n  %s"):format(info.name, ops.signature(info), info.doc)
end

local function find(subject)
  if type(subject) == "string" then return ops.info[subject] end
  for _, info in ipairs(ops.list) do
    if rawget(ops, info.name) == subject then return info end
  end
end

--- A class of modules or optimizers, a module, or a name: what its constructor takes.
local function signature(subject)
  local name = subject
  if type(subject) == "table" or type(subject) == "userdata" then name = subject.__name or subject.class and subject.class.__name end
  local text = type(name) == "string" and arguments.signatures[name]
  return text and ("%s(%s)"):format(name, text)
end

local function names()
  local list = {}
  for _, info in ipairs(ops.list) do list[#list + 1] = info.name end
  for name in each(arguments.signatures) do
    if not ops.info[name] then list[#list + 1] = name end
  end
  table.sort(list)
  return list
end

--- Prints what is known about an operator, a class or a function, by name or as the thing itself; alone it lists all names.
function help.help(subject)
  local info, text = find(subject), signature(subject)
  if subject == nil then
    print(table.concat(names(), " "))
    print("help \"name\" tells more about one of them")
  elseif info then
    print(help.text(info))
  elseif text then
    print(text)
  else
    print(("nothing is known about %s%s"):format(tostring(subject), arguments.hint(subject, names())))
  end
end

return help
