--- Lua functions that C knows by number: hooks and custom Functions of the graph.
--
-- A node holds the number, `callbacks` the table behind it; C tells which numbers are free again. A table that refers to the tensor whose node holds
-- its number is never freed: the collector cannot see that C closes the circle.

local base = require("lunette.ffi")

local C, take, give = base.C, base.take, base.give

local registry = base.registry
registry.callbacks = registry.callbacks or {free = {}, last = 0}

local callbacks = {list = registry.callbacks}
local list = callbacks.list

--- Forgets the tables of nodes that have been freed.
function callbacks.drain()
  local block = take()
  local n = C.ln_dead_ids(block.ids, 256)
  while n > 0 do
    for i = 0, n - 1 do
      local id = block.ids[i]
      list[id] = nil
      table.insert(list.free, id)
    end
    n = C.ln_dead_ids(block.ids, 256)
  end
  give(block)
end

--- A number for `callback`, a table.
function callbacks.keep(callback)
  callbacks.drain()
  local id = table.remove(list.free)
  if not id then
    list.last = list.last + 1
    id = list.last
  end
  list[id] = callback
  return id
end

--- Takes back a number that C has not taken.
function callbacks.forget(id)
  list[id] = nil
  table.insert(list.free, id)
end

return callbacks
