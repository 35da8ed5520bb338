--- Errors that blame the caller's line, and the nearest names that they suggest.

local each = require("lunette.each")

local getinfo, floor, min, sort = debug.getinfo, math.floor, math.min, table.sort
local type, error, ipairs, tostring, setmetatable = type, error, ipairs, tostring, setmetatable

local errors = {}
local root = getinfo(1, "S").source:match("^(.*)errors%.lua$")

-- Lunette's own files, and the code it writes for itself, which is named "=lunette...".
local function is_own(source) return source:sub(1, #root) == root or source:sub(1, 8) == "=lunette" end
errors.is_own = is_own

--- What stands before every message: nn/path.lua names the running module.
function errors.context() return "" end

--- Raises `message` at the innermost line outside Lunette's own files.
function errors.fail(message)
  message = errors.context() .. message
  local level = 2
  local info = getinfo(level, "S")
  while info and (info.what == "C" or is_own(info.source)) do
    level = level + 1
    info = getinfo(level, "S")
  end
  error(message, info and level or 0)
end

-- Nearest names --------------------------------------------------------------------------------------------------------------------------

local function distance(a, b)
  local row = {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    local corner = row[0]
    row[0] = i
    for j = 1, #b do
      local cost = corner + (a:byte(i) == b:byte(j) and 0 or 1)
      corner = row[j]
      row[j] = min(cost, row[j] + 1, row[j - 1] + 1)
    end
  end
  return row[#b]
end

--- The string among `names` (an array) that is nearest to `name`, nil when none is near.
function errors.nearest(name, names)
  if #name > 64 then return nil end
  local best, least = nil, floor(#name / 2) + 1
  for _, candidate in ipairs(names) do
    local d = distance(name:lower(), candidate:lower()) + (name:byte() == candidate:byte() and 0 or 0.5)
    if d < least then best, least = candidate, d end
  end
  return best
end

local FEW = 16 -- so many names are listed where none is near

--- "; did you mean 'x'?", "; there are 'x', 'y', 'z'" where no name is near and they are few, or "".
function errors.hint(name, names)
  local near = type(name) == "string" and errors.nearest(name, names)
  if near then return ("; did you mean '%s'?"):format(near) end
  if #names == 0 or #names > FEW then return "" end
  return ("; there %s '%s'"):format(#names == 1 and "is" or "are", table.concat(names, "', '"))
end

--- Makes a missing name of `package` an error that shows the nearest one; `title` is what scripts call it. `parts` are modules by name that are
-- loaded when they are first asked for.
function errors.strict(package, title, parts)
  local meta = {__package = title}
  parts = parts or {}
  function meta.__names()
    local names = {}
    for known in each(package) do names[#names + 1] = known end
    for known in each(parts) do
      if rawget(package, known) == nil then names[#names + 1] = known end
    end
    sort(names)
    return names
  end
  function meta.__index(_, name)
    if parts[name] then
      package[name] = require(parts[name])
      return package[name]
    end
    errors.fail(("%s.%s does not exist%s"):format(title, tostring(name), errors.hint(name, meta.__names())))
  end
  return setmetatable(package, meta)
end

return errors
