--- What is known about public things: functions, classes and packages by themselves, for help, the reference and the specs.
--
-- An entry is {name = "F.relu", signature = "input:tensor, inplace:bool=false", doc = "..."}. Things that are declared (define.lua, nn/declare.lua)
-- are entered when they are made; operators stand in their table, and everything else says what it does in the comment above it.

local catalog = {}

local entries = setmetatable({}, {__mode = "k"})

--- Enters what is known about a function or a class.
function catalog.add(thing, entry)
  entries[thing] = entry
  return thing
end

--- The entry of a function or a class, nil when it was not declared. An entry may have a function `complete` that fills in the rest when it is
--- first asked for, so that what nobody asks about costs nothing.
function catalog.of(thing)
  local entry = entries[thing]
  if entry and entry.complete then
    local complete = entry.complete
    entry.complete = nil
    complete(entry)
  end
  return entry
end

return catalog
