--- Values as the prompt shows them: strings quoted, tables by their entries, functions by their public name, tensors and modules as they print.

local arguments = require("lunette.arguments")
local base = require("lunette.ffi")
local catalog = require("lunette.catalog")
local class = require("lunette.class")
local each = require("lunette.each")
local lazily = require("lunette.lazily")
local lexer = require("lunette.repl.lexer")
local style = require("lunette.repl.style")

require("lunette.interpreted")()

local show = {}

local WIDTH = 80 -- a table that fits is written in one line
local DEEPEST = 4 -- tables inside tables
local MOST = 40 -- entries of a table
local LONGEST = 2000 -- bytes of a string

local text_of

-- Strings, functions -----------------------------------------------------------------------------------------------------------------------

local ESCAPES = {["\n"] = "\\n", ["\t"] = "\\t", ["\r"] = "\\r", ["\\"] = "\\\\", ["\""] = "\\\""}

local function quoted(text)
  local cut = #text > LONGEST and text:sub(1, LONGEST) or text
  local body = cut:gsub("[%c\\\"]", function(c) return ESCAPES[c] or ("\\%03d"):format(c:byte()) end)
  return "\"" .. body .. "\"" .. (#text > LONGEST and (" .. (%d more bytes)"):format(#text - LONGEST) or "")
end

local STANDARD = {"string", "table", "math", "io", "os", "debug", "coroutine", "package", "jit", "bit"}

local function standard_name(fn)
  for name, value in each(_G) do
    if value == fn then return tostring(name) end
  end
  for _, library in ipairs(STANDARD) do
    for name, value in each(_G[library] or {}) do
      if value == fn then return library .. "." .. name end
    end
  end
end

-- The name of a public function, or where it is defined.
local function function_text(fn)
  local known = catalog.of(fn) or catalog.of(lazily.real(fn))
  local name = known and known.name
  if not name then
    local found = require("lunette.reference").find(fn)
    name = found[1] and found[1].name or standard_name(fn)
  end
  if name then return "function " .. name end
  local info = debug.getinfo(fn, "S")
  return info.what == "C" and "function (built in)" or ("function (%s:%d)"):format(info.short_src, info.linedefined)
end

-- Tables -----------------------------------------------------------------------------------------------------------------------------------

local function key_text(key, seen, depth)
  if type(key) == "string" and key:find("^[%a_][%w_]*$") and not lexer.keywords[key] then return key end
  return "[" .. text_of(key, seen, depth + 1) .. "]"
end

local RANK = {number = 1, string = 2}

local function before(a, b)
  local x, y = RANK[type(a)] or 3, RANK[type(b)] or 3
  if x ~= y then return x < y end
  if x < 3 then return a < b end
  return tostring(a) < tostring(b)
end

-- The keys behind the array, in order: that of an ordered map, or sorted.
local function keys_of(t, n)
  local meta = getmetatable(t)
  local keys = {}
  if type(meta) == "table" and meta.is_ordered_map then
    for _, key in ipairs(meta.order) do
      if rawget(t, key) ~= nil then keys[#keys + 1] = key end
    end
    return keys
  end
  for key in each(t) do
    if not (type(key) == "number" and key >= 1 and key <= n and key % 1 == 0) then keys[#keys + 1] = key end
  end
  table.sort(keys, before)
  return keys
end

local function entries_of(t, seen, depth)
  local list, n = {}, 0
  while rawget(t, n + 1) ~= nil do n = n + 1 end
  for i = 1, math.min(n, MOST) do list[i] = text_of(rawget(t, i), seen, depth + 1) end
  local keys = keys_of(t, n)
  for _, key in ipairs(keys) do
    if #list >= MOST then break end
    list[#list + 1] = key_text(key, seen, depth) .. " = " .. text_of(rawget(t, key), seen, depth + 1)
  end
  local left = n + #keys - #list
  if left > 0 then list[#list + 1] = ("... %d more"):format(left) end
  return list
end

local function indented(text) return (text:gsub("\n", "\n  ")) end

-- Is the table its own text, as a package, a class or an object says?
local function own_text(t)
  local meta = getmetatable(t)
  if type(meta) ~= "table" then return nil end
  if meta.__package then return ("package %s (help(%s) lists it)"):format(meta.__package, meta.__package) end
  if class.is_class(t) then
    local known = catalog.of(t)
    return "class " .. (known and known.name or t.__name)
  end
  if rawget(meta, "__tostring") then return tostring(t) end
end

local function table_text(t, seen, depth)
  if seen[t] then return "<cycle>" end
  local own = own_text(t)
  if own then return own end
  if next(t) == nil then return "{}" end
  if depth >= DEEPEST then return "{...}" end
  seen[t] = true
  local entries = entries_of(t, seen, depth)
  seen[t] = nil
  local line = "{" .. table.concat(entries, ", ") .. "}"
  if #line + 2 * depth <= WIDTH and not line:find("\n", 1, true) then return line end
  for i, entry in ipairs(entries) do entries[i] = "  " .. indented(entry) .. (i < #entries and "," or "") end
  return "{\n" .. table.concat(entries, "\n") .. "\n}"
end

-- Values -----------------------------------------------------------------------------------------------------------------------------------

-- A tensor inside a table: in full only where that is one line.
local function tensor_text(t, depth)
  if depth == 0 then return tostring(t) end
  if t:numel() <= 8 then
    local text = tostring(t)
    if not text:find("\n", 1, true) then return text end
  end
  return ("<tensor %s %s%s>"):format(tostring(t.shape), t.dtype, t.is_cuda and " " .. t.device or "")
end

function text_of(value, seen, depth)
  local kind = type(value)
  if kind == "string" then return quoted(value) end
  if kind == "function" then return function_text(value) end
  if base.is_tensor(value) then return tensor_text(value, depth) end
  if rawequal(value, arguments.None) then return "None" end
  if kind == "table" then return table_text(value, seen, depth) end
  return tostring(value)
end

--- The text of a value.
function show.text(value) return text_of(value, {}, 0) end

local COLOURS = {string = "string", ["function"] = "name", ["nil"] = "faint"}

--- Prints values, each on its own line.
function show.values(...)
  for i = 1, select("#", ...) do
    local value = select(i, ...)
    local kind = COLOURS[type(value)]
    local text = show.text(value)
    io.write(kind and style.paint(kind, text) or text, "\n")
  end
end

--- Prints an error of trace.described, and its frames where they say more than its message.
function show.failure(failure)
  io.write(style.paint("error", failure.message), "\n")
  local frames = failure.frames
  local only = #frames == 1 and frames[1]:match("^(.-): in")
  if only and failure.message:sub(1, #only) == only then return end
  for _, frame in ipairs(frames) do io.write(style.paint("faint", "  " .. frame), "\n") end
end

return show
