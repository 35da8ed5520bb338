--- busted's helper for `make mutants`: writes the lines of lua/lunette that the specs reach to the file that LUNETTE_COVER names.

dofile("spec/device.lua")

local getinfo = debug.getinfo
local reached = {}
local sources = {} -- source of a chunk -> its table of lines, false for other chunks

local function lines_of(source)
  local path = source:match("(lua/lunette/.*%.lua)$")
  local lines = path and (reached[path] or {}) or false
  if path then reached[path] = lines end
  sources[source] = lines
  return lines
end

jit.off()
debug.sethook(function(_, line)
  local source = getinfo(2, "S").source
  local lines = sources[source]
  if lines == nil then lines = lines_of(source) end
  if lines then lines[line] = true end
end, "l")

require("busted").subscribe({"exit"}, function()
  debug.sethook()
  local file = assert(io.open(os.getenv("LUNETTE_COVER"), "w"))
  for path, lines in pairs(reached) do
    for line in pairs(lines) do file:write(path, ":", line, "\n") end
  end
  file:close()
end)
