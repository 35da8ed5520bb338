--- What C knows by number: the hooks of a tensor and the calls of custom Functions in the graph.
--
-- A node holds the number, `callbacks` the table behind it; C gives every number once and tells which are no longer needed. A table that refers to the tensor whose node holds
-- its number is never freed: the collector cannot see that C closes the circle.

local base = require("lunette.ffi")

local C, take, give = base.C, base.take, base.give
local tonumber = tonumber

local registry = base.registry
registry.callbacks = registry.callbacks or {}

local callbacks = {list = registry.callbacks}
local list = callbacks.list

--- Forgets the tables of nodes that have been freed.
function callbacks.drain()
  local block = take()
  local n = C.ln_dead_callbacks(block.numbers, 256)
  while n > 0 do
    for i = 0, n - 1 do list[tonumber(block.numbers[i])] = nil end
    n = C.ln_dead_callbacks(block.numbers, 256)
  end
  give(block)
end

--- A number that was never given before, above all others.
function callbacks.number() return tonumber(C.ln_callback_number()) end

--- A number for `callback`, a table.
function callbacks.keep(callback)
  callbacks.drain()
  local number = callbacks.number()
  list[number] = callback
  return number
end

--- Forgets a table whose number C has not taken.
function callbacks.forget(number) list[number] = nil end

return callbacks
