--- What is known about public things: functions, classes and packages by themselves. reference.lua goes over it, for help, the pages and the specs.
--
-- An entry is {name = "F.relu", signature = "input:tensor, inplace:bool=false", doc = "...", example = "..."}. Operators and things that are declared
-- (define.lua, nn/declare.lua, class.lua) are entered when they are made; any other function says what it does in the comment above it.

local catalog = {}

local entries = setmetatable({}, {__mode = "k"})
local origins = setmetatable({}, {__mode = "k"}) -- functions that only check their arguments -> what they call

--- Enters what is known about a function or a class.
function catalog.add(thing, entry)
  entries[thing] = entry
  return thing
end

--- The entry of a function or a class, or of what the function wraps; nil when it was not declared. An entry may have a function `complete` that fills in the rest when it is
--- first asked for, so that what nobody asks about costs nothing.
function catalog.of(thing)
  local entry = entries[thing] or origins[thing] and entries[origins[thing]]
  if entry and entry.complete then
    local complete = entry.complete
    entry.complete = nil
    complete(entry)
  end
  return entry
end

--- Notes that `fn` only checks its arguments and calls `origin`, above which the comment stands. Returns fn.
function catalog.wraps(fn, origin)
  origins[fn] = origin
  return fn
end

--- The function behind `fn`, itself when it wraps none.
function catalog.origin(fn) return origins[fn] or fn end

return catalog
