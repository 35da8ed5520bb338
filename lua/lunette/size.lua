--- Shapes: read-only, counted by dimension from 0, negative from the end.
--
--     s[0], s[-1], #s, s["1:"], s == {2, 3}, s:unpack(), s:totable(), s:numel(), tostring(s) --> {2, 3}

local base = require("lunette.ffi")
local arguments = require("lunette.arguments")

local ffi, fail, registry = base.ffi, base.fail, base.registry
local istype, tonumber, tostring, type, concat = ffi.istype, tonumber, tostring, type, table.concat

local Size = {}
local methods = {}
local live = registry.live
local ctype = registry.size

local function is_size(x) return istype(ctype, x) end

local function make(n, at)
  local s = ctype()
  s._n = n
  for i = 0, n - 1 do s._v[i] = at(i) end
  return s
end

local function bound(text, default, n)
  if text == "" then return default end
  local i = tonumber(text)
  if i < 0 then i = i + n end
  return math.max(0, math.min(n, i))
end

local function slice(s, text)
  local from, to = text:gsub("%s", ""):match("^(%-?%d*):(%-?%d*)$")
  if not from then fail(("a Size has no field '%s'; it is indexed from 0, or with a slice such as \"1:\""):format(text)) end
  local n = s._n
  local first, last = bound(from, 0, n), bound(to, n, n)
  return make(math.max(0, last - first), function(i) return s._v[first + i] end)
end

local size_live = {}
live.size = size_live

function size_live.index(s, key)
  if type(key) == "number" then
    local n = s._n
    local i = key < 0 and key + n or key
    if i % 1 ~= 0 or i < 0 or i >= n then
      fail(("index %s is out of bounds for a Size of %d dimensions (indexes start at 0)"):format(tostring(key), n))
    end
    return tonumber(s._v[i])
  end
  return methods[key] or slice(s, tostring(key))
end

function size_live.newindex() fail("a Size is read-only") end

local function length_of(x)
  if is_size(x) then return x._n end
  return type(x) == "table" and #x or nil
end

function size_live.equal(a, b)
  local n = length_of(a)
  if not n or n ~= length_of(b) then return false end
  for i = 0, n - 1 do
    local x = is_size(a) and tonumber(a._v[i]) or a[i + 1]
    local y = is_size(b) and tonumber(b._v[i]) or b[i + 1]
    if x ~= y then return false end
  end
  return true
end

function size_live.text(s)
  local words = {}
  for i = 0, s._n - 1 do words[i + 1] = tostring(tonumber(s._v[i])) end
  return "{" .. concat(words, ", ") .. "}"
end

function size_live.concat(a, b) return tostring(a) .. tostring(b) end

function size_live.refuse() fail("ipairs and pairs do not go over a Size: use `for i, n in lt.enumerate(s) do`, i from 0, or s:totable()") end

if not ctype then
  ctype = ffi.metatype("ln_size", {
    __index = function(s, key) return live.size.index(s, key) end,
    __newindex = function() live.size.newindex() end,
    __len = function(s) return s._n end,
    __eq = function(a, b) return live.size.equal(a, b) end,
    __tostring = function(s) return live.size.text(s) end,
    __concat = function(a, b) return live.size.concat(a, b) end,
    __ipairs = function() live.size.refuse() end,
    __pairs = function() live.size.refuse() end,
  })
  registry.size = ctype
end

--- All entries as so many values.
function methods.unpack(s) return unpack(methods.totable(s)) end

--- A Lua array of the entries, from 1.
function methods.totable(s)
  local list = {}
  for i = 0, s._n - 1 do list[i + 1] = tonumber(s._v[i]) end
  return list
end

--- The product of the entries.
function methods.numel(s)
  local n = 1
  for i = 0, s._n - 1 do n = n * tonumber(s._v[i]) end
  return n
end

--- A Size of numbers, an array, or another Size.
function Size.Size(...)
  local first = ...
  if is_size(first) then return first end
  local list = type(first) == "table" and first or {...}
  if #list > 16 then fail("a Size has at most 16 dimensions, got " .. #list) end
  return make(#list, function(i)
    local v = list[i + 1]
    if type(v) ~= "number" or v % 1 ~= 0 then fail(("entry %d of a Size must be a whole number, not %s"):format(i, arguments.describe(v))) end
    return v
  end)
end

--- The first ndim entries of an int64 array of C.
function Size.of(ndim, values)
  local s = ctype()
  s._n = ndim
  ffi.copy(s._v, values, 8 * ndim)
  return s
end

Size.is_size = is_size

return Size
