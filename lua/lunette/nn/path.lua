--- The path of the running module, for errors inside a model: "in blocks.2.fc: ". It is found on the stack when an error is raised, so that calls that
--- succeed pay nothing: the function that calls a module keeps its frame while forward runs (class.lua), also where forward ends in a tail call.

local arguments = require("lunette.arguments")
local errors = require("lunette.errors")

local getinfo, getlocal, getmetatable, ipairs = debug.getinfo, debug.getlocal, getmetatable, ipairs
local is_module = arguments.is_module

-- The module that the frame at `level` (counted from the caller) runs, if any.
local function module_at(level, info)
  local name, value = getlocal(level + 1, 1)
  if name and is_module(value) and (info.func == getmetatable(value).__call or info.func == value.forward) then return value end
end

-- The running modules, the innermost first; a module whose forward was called directly counts too.
local function running()
  local modules, level = {}, 2
  local info = getinfo(level, "f")
  while info do
    local m = module_at(level, info)
    if m and m ~= modules[#modules] then modules[#modules + 1] = m end
    level = level + 1
    info = getinfo(level, "f")
  end
  return modules
end

-- The path from a module to one below it, nil when it is not registered there.
local function path_to(from, target, seen)
  if seen[from] then return nil end
  seen[from] = true
  local record = getmetatable(from)
  for _, name in ipairs(record.module) do
    local child = record.__index[name]
    if child ~= nil then
      if child == target then return name end
      local rest = path_to(child, target, seen)
      if rest then return name .. "." .. rest end
    end
  end
end

--- "in blocks.2.fc: ", or "" when no module below another runs. A module that is registered nowhere is left out.
function errors.context()
  local modules, names = running(), {}
  local current = modules[#modules]
  for i = #modules - 1, 1, -1 do
    local name = path_to(current, modules[i], {})
    if name then names[#names + 1], current = name, modules[i] end
  end
  return #names > 0 and ("in %s: "):format(table.concat(names, ".")) or ""
end
