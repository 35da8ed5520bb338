--- A module called with other tensors in the places of its own.

local each = require("lunette.each")
local internals = require("lunette.nn.internals")
local protect = require("lunette.protect")

local getmetatable, ipairs, rawget, rawset = getmetatable, ipairs, rawget, rawset

local swapped = {}

--- Every place of a tensor in the tree: name -> {fields, key}, and the names in order. A shared tensor has several.
function swapped.places_of(module)
  local places, names = {}, {}
  for path, m in module:named_modules({remove_duplicate = false}) do
    local inner = getmetatable(m)
    for _, kind in ipairs({"parameter", "buffer"}) do
      for _, key in ipairs(inner[kind]) do
        local name = path == "" and key or path .. "." .. key
        if rawget(inner.__index, key) ~= nil and not places[name] then
          places[name], names[#names + 1] = {inner.__index, key}, name
        end
      end
    end
  end
  return places, names
end

-- Puts the tensors into their places; returns what stood there, by name.
local function swap(places, tensors)
  local before = {}
  for name, t in each(tensors) do
    local place = places[name]
    if place then
      before[name] = rawget(place[1], place[2])
      rawset(place[1], place[2], t)
    end
  end
  internals.changes = internals.changes + 1
  return before
end

--- Calls the module with tensors by name in these places, which hold again afterwards what they held. `done`, when it is given, gets what the call left there.
function swapped.call(module, places, tensors, done, ...)
  local before = swap(places, tensors)
  return protect.call(function()
    local after = swap(places, before)
    if done then done(after) end
  end, module, ...)
end

return swapped
