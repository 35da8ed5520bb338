--- What was typed, in a file that only its owner reads: an entry a line, written at once, so that nothing is lost and several prompts may share it.

local ffi = require("ffi")

require("lunette.interpreted")()

ffi.cdef("unsigned umask(unsigned mask);")

local history = {}
local MOST = 1000 -- entries; a file is cut to so many when it has twice as many

--- The file: $LUNETTE_HISTORY or ~/.lunette_history; nil when that is set to nothing.
function history.path()
  local path = os.getenv("LUNETTE_HISTORY") or (os.getenv("HOME") or ".") .. "/.lunette_history"
  return path ~= "" and path or nil
end

local function escaped(entry) return (entry:gsub("\\", "\\\\"):gsub("\n", "\\n")) end

local function unescaped(line) return (line:gsub("\\(.)", function(c) return c == "n" and "\n" or c end)) end

local function with_file(path, mode, fn)
  local mask = ffi.C.umask(63) -- 077
  local file = io.open(path, mode)
  ffi.C.umask(mask)
  if not file then return end
  fn(file)
  file:close()
end

local function cut(path, entries)
  local temporary = path .. ".new"
  with_file(temporary, "w", function(file)
    for i = #entries - MOST + 1, #entries do file:write(escaped(entries[i]), "\n") end
  end)
  os.rename(temporary, path)
end

--- The entries of the file, the oldest first.
function history.read()
  local entries, path = {}, history.path()
  local file = path and io.open(path)
  if not file then return entries end
  for line in file:lines() do entries[#entries + 1] = unescaped(line) end
  file:close()
  if #entries > 2 * MOST then cut(path, entries) end
  return entries
end

local last

--- Adds an entry, unless it is the one before once more. @return was it added?
function history.add(entry)
  if not entry:find("%S") or entry == last then return false end
  last = entry
  local path = history.path()
  if path then with_file(path, "a", function(file) file:write(escaped(entry), "\n") end) end
  return true
end

return history
