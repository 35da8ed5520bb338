--- Programs run in a process of their own, for what would end this one or must be seen from outside.

local child = {}

local here = debug.getinfo(1, "S").source:match("^@(.*)child%.lua$")

local HEAD = [[
package.path = %q .. package.path
local lt = require("lunette")
]]

local function write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

--- The command line that runs `source` (where `lt` is Lunette), and the path of its text, to be removed. `before` is shell text ahead of it.
function child.command(source, before)
  local path = os.tmpname()
  write(path, HEAD:format(package.path) .. source)
  return ("cd %s/.. && %s exec luajit %s"):format(here == "" and "." or here, before or "", path), path
end

--- Runs `source`. @return the exit status (128 and the signal's number when a signal ended it) and what it printed, errors included
function child.run(source, before)
  local command, path = child.command(source, before)
  local pipe = assert(io.popen(("sh -c '(%s) 2>&1'; echo \"status $?\""):format(command:gsub("'", "'\\''"))))
  local output = pipe:read("*a")
  pipe:close()
  os.remove(path)
  local text, status = output:match("^(.-)status (%d+)\n$")
  return tonumber(status), text
end

return child
