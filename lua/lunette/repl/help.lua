--- help "softmax", help(lt.softmax): what an operator does and takes, from the operator table.

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

--- Prints what is known about an operator, by name or as the function itself; alone it lists all names.
function help.help(subject)
  if subject == nil then
    local names = {}
    for _, info in ipairs(ops.list) do names[#names + 1] = info.name end
    print(table.concat(names, " "))
    print("help \"name\" tells more about one of them")
    return
  end
  local info = find(subject)
  if info then
    print(help.text(info))
    return
  end
  local names = {}
  for name in pairs(ops.info) do names[#names + 1] = name end
  print(("nothing is known about %s%s"):format(tostring(subject), arguments.hint(subject, names)))
end

return help
