--- help "softmax", help(F.relu), help(nn.Linear), help(net), help(x): what a thing takes and does, from the reference or the comment above it.

local arguments = require("lunette.arguments")
local base = require("lunette.ffi")
local reference = require("lunette.reference")

require("lunette.interpreted")()

local help = {}

-- Several lines, each indented.
local function indented(text) return "  " .. text:gsub("\n", "\n  ") end

--- The text about an entry of the reference: how it is called, what it does, how a layer is called, what it has, an example.
function help.text(entry)
  local lines = {}
  for _, signature in ipairs(entry.signatures) do lines[#lines + 1] = ("%s(%s)"):format(entry.name, signature) end
  lines[#lines + 1] = indented(entry.doc or "")
  if entry.forward then lines[#lines + 1] = ("  m = %s(...) is called m(%s)"):format(entry.name, entry.forward) end
  for i, title in ipairs{"parameters", "buffers"} do
    local texts = entry.tensors and entry.tensors[i] or {}
    if #texts > 0 then lines[#lines + 1] = ("  %s: %s"):format(title, table.concat(texts, ", ")) end
  end
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

local function first_sentence(text) return (text:match("^(.-[%.:])%s") or text):gsub("\n", " ") end

-- The functions and classes of a package, a line each.
local function package_text(title)
  local lines, prefix = {title .. ":"}, ({["nn.functional"] = "F."})[title] or title .. "."
  for _, entry in ipairs(reference.entries()) do
    local rest = entry.name:sub(1, #prefix) == prefix and entry.name:sub(#prefix + 1)
    if rest and rest:find("^[%w_]+$") then lines[#lines + 1] = ("  %-28s %s"):format(entry.name, first_sentence(entry.doc or "")) end
  end
  lines[#lines + 1] = "help \"name\" tells more about one of them"
  return table.concat(lines, "\n")
end

local function tensor_text(t)
  local line = ("a tensor of shape %s, %s, on %s%s"):format(tostring(t.shape), t.dtype, t.device, t.requires_grad and ", which wants a gradient" or "")
  return line .. "\n  t.shape, t.dtype, t.device, t.grad are fields; t:sum(), t:view(2, 3) ... are methods: every function of lt that takes it first.\n"
    .. "  help \"sum\" tells about one, Tab behind t: lists them"
end

-- A function of the user: its place, and the comment above it.
local function function_text(fn)
  local info = debug.getinfo(fn, "S")
  if info.what == "C" then return "a function that is built in" end
  return ("a function of %s, line %d"):format(info.short_src, info.linedefined) .. "\n" .. indented(reference.comment(fn) or "no comment stands above it")
end

local function other_text(subject)
  local meta = type(subject) == "table" and getmetatable(subject)
  if type(meta) == "table" and meta.__package then return package_text(meta.__package) end
  if base.is_tensor(subject) then return tensor_text(subject) end
  if type(subject) == "function" then return function_text(subject) end
end

--- Prints what is known about a function, a class, a module, an optimizer, a tensor, a package, or what stands under a name, "F.relu" or only "relu"; alone
--- it lists all names.
function help.help(...)
  local subject = ...
  if select("#", ...) == 0 then
    print(table.concat(names(), " "))
    print("help \"name\" tells more about one of them")
    return
  end
  local found = subject ~= nil and reference.find(subject) or {}
  for _, entry in ipairs(found) do print(help.text(entry)) end
  if #found == 0 then print(other_text(subject) or ("nothing is known about %s%s"):format(tostring(subject), near(subject))) end
end

return help
