--- Lua arrays that can also stand after `in`: what parameters(), named_children() and their like return.
--
--     for p in m:parameters() do ... end          for _, p in m:parameters() do ... end          #m:parameters()          m:parameters()[1]
--     for name, p in m:named_parameters() do ... end
--
-- The loop's control variable is an entry (or its name), which occurs once in such an array: so the array itself holds no loop state,
-- and loops over one array nest.

local setmetatable, getmetatable = setmetatable, getmetatable

local list = {}

-- The place of each entry (of each name), made when a loop first asks.
local function places_of(array, meta)
  local places = {}
  for i = 1, #array do places[meta.named and array[i][1] or array[i]] = i end
  meta.places = places
  return places
end

local function next_entry(array, _, last)
  local meta = getmetatable(array)
  local i = last == nil and 1 or (meta.places or places_of(array, meta))[last] + 1
  local entry = array[i]
  if meta.named and entry then return entry[1], entry[2] end
  return entry, entry
end

--- `array` itself; `named`: it holds {name, value} pairs and gives two loop values.
function list.of(array, named) return setmetatable(array, {__call = next_entry, named = named}) end

return list
