--- Programs run in a process of their own, for what would end this one or must be seen from outside; forked copies of this one.

local ffi = require("ffi")

ffi.cdef[[
int fork(void);
int waitpid(int pid, int *status, int options);
void _exit(int status);
int kill(int pid, int signal);
int usleep(unsigned microseconds);
int unshare(int flags);
int fileno(void *file);
int flock(int descriptor, int operation);
]]

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

local LIMIT = 120 -- seconds: a program that hangs fails its spec

--- Runs `source`. @return the exit status (124 past the limit, 128 and the signal's number when a signal ended it) and what it printed, errors included
function child.run(source, before)
  local command, path = child.command(source, before)
  local pipe = assert(io.popen(("timeout -k 1 %d sh -c '(%s) 2>&1'; echo \"status $?\""):format(LIMIT, (command:gsub("'", "'\\''")))))
  local output = pipe:read("*a")
  pipe:close()
  os.remove(path)
  local text, status = output:match("^(.-)status (%d+)\n$")
  return tonumber(status), text
end

--- Runs `fn` in a forked copy, which ends with it. @return its process number
function child.fork(fn)
  local pid = ffi.C.fork()
  if pid == 0 then
    local ok = pcall(fn)
    ffi.C._exit(ok and 0 or 1)
  end
  return pid
end

--- Waits for the end of a process. @return 0 when it ended well
function child.wait(pid)
  local status = ffi.new("int[1]")
  ffi.C.waitpid(pid, status, 0)
  return status[0]
end

--- Ends a process at once, as a power cut would, and waits for it.
function child.kill(pid)
  ffi.C.kill(pid, 9)
  return child.wait(pid)
end

function child.sleep(microseconds) ffi.C.usleep(microseconds) end

--- Runs `fn` in a copy with process numbers of its own, as a container has: there it is number 1. Where the system does not let us, in any copy.
function child.contained(fn)
  return child.fork(function()
    ffi.C.unshare(0x30000000) -- CLONE_NEWUSER | CLONE_NEWPID
    if child.wait(child.fork(fn)) ~= 0 then error("the contained process failed") end
  end)
end

--- Locks an open file against other processes. @return 0 when that succeeded
function child.lock(file) return ffi.C.flock(ffi.C.fileno(file), 2) end

--- The first line that a shell command prints.
function child.shell(command)
  local pipe = assert(io.popen(command))
  local line = pipe:read("*l")
  pipe:close()
  return line
end

--- A new folder, in memory where there is such a place.
function child.folder() return child.shell("mktemp -d -p /dev/shm 2> /dev/null || mktemp -d") end

function child.remove_folder(folder) os.execute("rm -rf " .. folder) end

return child
