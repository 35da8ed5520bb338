--- help "softmax", help(F.relu), help(nn.Linear), help(net): what a public thing takes and does, from the reference.

local arguments = require("lunette.arguments")
local reference = require("lunette.reference")

local help = {}

-- Several lines, each indented.
local function indented(text) return "  " .. text:gsub("\n", "\n  ") end

--- The text about an entry of the reference: how it is called, what it does, how a layer is called, an example.
function help.text(entry)
  local lines = {}
  for _, signature in ipairs(entry.signatures) do lines[#lines + 1] = ("%s(%s)"):format(entry.name, signature) end
  lines[#lines + 1] = indented(entry.doc)
  if entry.forward then lines[#lines + 1] = ("  m = %s(...) is called m(%s)"):format(entry.name, entry.forward) end
  if entry.example then lines[#lines + 1] = indented(entry.example) end
  return table.concat(lines, "\n")
end

local function names()
  local list = {}
  for i, entry in ipairs(reference.entries()) do list[i] = entry.name end
  return list
end

-- Bare and qualified names, for hints.
local function near(subject)
  local list, seen = names(), {}
  for i = 1, #list do
    local short = list[i]:match("[%w_]+$")
    if not seen[short] then list[#list + 1], seen[short] = short, true end
  end
  return arguments.hint(subject, list)
end

--- Prints what is known about a function, a class, a module, an optimizer, or what stands under a name, "F.relu" or only "relu"; alone it lists all names.
function help.help(subject)
  if subject == nil then
    print(table.concat(names(), " "))
    print("help \"name\" tells more about one of them")
    return
  end
  local found = reference.find(subject)
  for _, entry in ipairs(found) do print(help.text(entry)) end
  if #found == 0 then print(("nothing is known about %s%s"):format(tostring(subject), near(subject))) end
end

return help
