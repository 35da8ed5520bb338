--- Loads modules from the file `bytecode` beside this one, which an installation has (lua/bundle.lua writes it) and a checkout has not: bytecode loads in
-- a tenth of the time that text takes. Where another LuaJIT wrote it, or the file is removed, the text is loaded.

local root = debug.getinfo(1, "S").source:match("^@?(.*)bundle%.lua$")
local loadstring = loadstring

local file = io.open(root .. "bytecode", "rb")
if not file then return end
local bytes = file:read("*a")
file:close()

local head, from = bytes:match("^(.-\n)\n()")
local usable

local function code_of(path, first, size) return loadstring(bytes:sub(first, first + size - 1), "@" .. root .. path) end

-- Makes `require(name)` load from the bundle.
local function preload(name, path, first, size)
  package.preload[name] = function(...) return code_of(path, first, size)(...) end
end

for path, size in head:gmatch("(%S+) (%d+)\n") do
  local name = "lunette." .. path:gsub("%.lua$", ""):gsub("/", ".")
  usable = usable or code_of(path, from, size)
  if not usable then return end
  preload(name, path, from, size)
  local folder = name:match("^(.*)%.init$")
  if folder and not head:find("\n" .. path:gsub("/init%.lua$", ".lua"), 1, true) then preload(folder, path, from, size) end
  from = from + size
end
