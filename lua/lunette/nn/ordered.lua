--- Ordered maps: tables that remember in which order their names came. state_dict() returns one.
--
-- The values are raw fields, so `map[name]` is a plain read and a name always wins over a method; order and metadata stand in the metatable.
-- `ordered.items`, `keys`, `values` and `len` also take what has such methods (ModuleDict) and plain tables, sorted by name.

local each = require("lunette.each")
local arguments = require("lunette.arguments")
local list = require("lunette.nn.list")

local getmetatable, setmetatable, rawget, rawset, type = getmetatable, setmetatable, rawget, rawset, type

local ordered = {}
local methods = {}

local function order_of(map)
  local meta = type(map) == "table" and getmetatable(map)
  return meta and meta.is_ordered_map and meta.order
end

function ordered.is_map(x) return order_of(x) ~= nil and order_of(x) ~= false end

-- A name that comes anew goes to the end, also after it was removed.
local function insert(map, key, value)
  local meta = getmetatable(map)
  if value == nil then return end
  if meta.known[key] then
    for i, name in ipairs(meta.order) do
      if name == key then
        table.remove(meta.order, i)
        break
      end
    end
  end
  meta.known[key] = true
  meta.order[#meta.order + 1] = key
  rawset(map, key, value)
end

local function plain_pairs(map)
  local pairs_array = {}
  for name, value in each(map) do pairs_array[#pairs_array + 1] = {name, value} end
  table.sort(pairs_array, function(a, b) return tostring(a[1]) < tostring(b[1]) end)
  return pairs_array
end

--- {name, value} pairs in order, as an array that can stand after `in`.
function ordered.items(map)
  if arguments.is_module(map) and map.items then return map:items() end
  if type(map) ~= "table" then arguments.fail("items: a map is needed, not " .. arguments.describe(map)) end
  local order = order_of(map)
  if not order then return list.of(plain_pairs(map), true) end
  local out = {}
  for _, name in ipairs(order) do
    local value = rawget(map, name)
    if value ~= nil then out[#out + 1] = {name, value} end
  end
  return list.of(out, true)
end

local function column(map, k)
  local out = {}
  for i, pair in ipairs(ordered.items(map)) do out[i] = pair[k] end
  return out
end

--- The names in order.
function ordered.keys(map) return list.of(column(map, 1)) end

--- The values in order; one that occurs twice does so here.
function ordered.values(map) return column(map, 2) end

--- How many names there are.
function ordered.len(map)
  if arguments.is_module(map) or arguments.is_tensor(map) or arguments.is_size(map) then return #map end
  if type(map) ~= "table" then arguments.fail("len: a map, an array, a container, a tensor or a Size is needed, not " .. arguments.describe(map)) end
  if not order_of(map) and #map > 0 then return #map end
  return #ordered.items(map)
end

methods.items, methods.keys, methods.values, methods.len = ordered.items, ordered.keys, ordered.values, ordered.len

local function map_text(map)
  local lines = {}
  for i, pair in ipairs(ordered.items(map)) do lines[i] = ("  %s = %s"):format(pair[1], (tostring(pair[2]):gsub("\n", "\n  "))) end
  return #lines == 0 and "{}" or "{\n" .. table.concat(lines, ",\n") .. "\n}"
end

local function map_pairs(map)
  local i, items = 0, ordered.items(map)
  return function()
    i = i + 1
    if items[i] then return items[i][1], items[i][2] end
  end
end

--- An empty map, or one filled from an array of {name, value} pairs, another map, or a plain table (sorted by name).
function ordered.map(source)
  local map = setmetatable({}, {
    __index = methods, __newindex = insert, __tostring = map_text, __pairs = map_pairs, __len = ordered.len,
    is_ordered_map = true, order = {}, known = {}, metadata = {},
  })
  for _, pair in ipairs(source and ordered.pairs_of(source) or {}) do map[pair[1]] = pair[2] end
  return map
end

--- What stands beside the names: prefix -> {version = n}; nil for a plain table.
function ordered.metadata(map) return order_of(map) and getmetatable(map).metadata or nil end

--- Reads any form of a mapping as an array of {name, value} pairs: such an array, an ordered map, a module with items(), a plain table.
function ordered.pairs_of(source)
  if type(source) == "table" and not order_of(source) and source[1] ~= nil then
    for i, pair in ipairs(source) do
      if type(pair) ~= "table" or type(pair[1]) ~= "string" then
        arguments.fail(("entry %d must be a {name, value} pair, not %s"):format(i, arguments.describe(pair)))
      end
    end
    return source
  end
  return ordered.items(source)
end

return ordered
