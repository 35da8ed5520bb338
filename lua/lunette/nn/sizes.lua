--- Sizes that modules keep: a number or an array made to the `n` entries that a layer over n dimensions needs.

local arguments = require("lunette.arguments")
local Size = require("lunette.size").Size

local sizes = {}

local function refuse(owner, name, n, value)
  arguments.fail(("%s: argument '%s' must be a whole number or %d of them, not %s"):format(owner, name, n, arguments.describe(value)))
end

local function entry(value, i) return arguments.is_size(value) and value[i] or value[i + 1] end

--- A Size of n entries. `least`: the smallest entry allowed.
function sizes.expand(owner, name, value, n, least)
  local out = {}
  if type(value) ~= "number" and #value ~= n then refuse(owner, name, n, value) end
  for i = 0, n - 1 do
    out[i + 1] = type(value) == "number" and value or entry(value, i)
    if out[i + 1] < least then
      arguments.fail(("%s: argument '%s' must be at least %d, not %s"):format(owner, name, least, tostring(out[i + 1])))
    end
  end
  return Size(out)
end

--- The value as given, for layers whose text shows it so: a number, or a Size of n entries.
function sizes.keep(owner, name, value, n, least)
  local expanded = sizes.expand(owner, name, value, n, least)
  return type(value) == "number" and value or expanded
end

--- Do all entries equal x?
function sizes.all(size, x)
  for i = 0, #size - 1 do
    if size[i] ~= x then return false end
  end
  return true
end

return sizes
