--- Runs calls one by one under limits: what hangs, takes all memory or crashes ends this process only, and a file tells which call it was.

local ffi = require("ffi")

ffi.cdef([[
  struct guard_timer { long interval_seconds, interval_microseconds, seconds, microseconds; };
  struct guard_limit { unsigned long soft, hard; };
  int setitimer(int which, const struct guard_timer *timer, struct guard_timer *former);
  unsigned alarm(unsigned seconds);
  int setrlimit(int resource, const struct guard_limit *limit);
  int chdir(const char *path);
]])

local guard = {}

local ITIMER_PROF, RLIMIT_AS, RLIMIT_FSIZE, RLIMIT_CORE = 2, 9, 1, 4
local sanitized = (os.getenv("ASAN_OPTIONS") or "") ~= ""
guard.sanitized = sanitized
local CPU_SECONDS = sanitized and 8 or 1
local SECONDS = 10 * CPU_SECONDS -- by the clock: for calls that wait instead of computing

local timer = ffi.new("struct guard_timer", 0, 0, CPU_SECONDS, 0)
local limit = ffi.new("struct guard_limit")

local function restrict(resource, most)
  limit.soft, limit.hard = most, most
  ffi.C.setrlimit(resource, limit)
end

--- Where the script is, a number of its own.
guard.at = 0

local progress

--- Works in `folder` from now on and writes the call in hand to its file `progress`; at most 2 GB of memory and 64 MB a file may be used.
function guard.start(folder)
  progress = assert(io.open(folder .. "/progress", "w"))
  progress:setvbuf("full")
  ffi.C.chdir(folder)
  restrict(RLIMIT_CORE, 0)
  restrict(RLIMIT_FSIZE, 64 * 2 ^ 20)
  if not sanitized then restrict(RLIMIT_AS, 2 * 2 ^ 30) end -- the sanitizers reserve terabytes
end

--- pcall(fn, ...) with the limits set anew; `text` is what the progress file says while it runs.
function guard.call(text, fn, ...)
  progress:seek("set")
  progress:write(guard.at, "\t", text, "\n")
  progress:flush()
  ffi.C.setitimer(ITIMER_PROF, timer, nil)
  ffi.C.alarm(SECONDS)
  return pcall(fn, ...)
end

-- The other side: processes that run a script of this folder ------------------------------------------------------------------------------

local here = debug.getinfo(1, "S").source:match("^@(.*)guard%.lua$")
local REASONS = {[14] = "waits", [27] = "hangs", [11] = "crashes (SIGSEGV)", [6] = "aborts", [8] = "crashes (SIGFPE)", [7] = "crashes (SIGBUS)", [9] = "was killed"}

local function contents(path)
  local file = io.open(path)
  local text = file and file:read("*a") or ""
  if file then file:close() end
  return text
end

local function quoted(word) return "'" .. tostring(word):gsub("'", "'\\''") .. "'" end

local function absolute(path)
  local pipe = io.popen("realpath " .. quoted(path))
  local line = pipe:read("*l")
  pipe:close()
  return line
end

--- Starts `luajit SCRIPT words... FOLDER` in the background; the folder is an empty one of its own.
function guard.launch(script, words)
  local folder, root = os.tmpname(), absolute(here .. "../..")
  os.remove(folder)
  assert(os.execute("mkdir " .. folder) == 0)
  local list = {}
  for i, word in ipairs(words) do list[i] = quoted(word) end
  local options = sanitized and os.getenv("ASAN_OPTIONS") .. ":allocator_may_return_null=1:max_allocation_size_mb=2048" or ""
  local command = ("ASAN_OPTIONS='%s' LUA_PATH='%s/lua/?.lua;%s/lua/?/init.lua;%s/?.lua;;' luajit %s %s %s > %s/out 2> %s/errors; echo $?"):format(
    options, root, root, root, quoted(root .. "/spec/stress/" .. script), table.concat(list, " "), folder, folder, folder)
  return {folder = folder, pipe = io.popen("exec 2> /dev/null bash -c " .. quoted(command))}
end

local function reason_of(code, errors)
  local report = errors:match("ERROR: AddressSanitizer[^\n]*") or errors:match("[^\n]*runtime error[^\n]*")
  if code ~= 0 then return report or REASONS[code - 128] or ("ends with status %d: %s"):format(code, errors:match("luajit: [^\n]*") or errors:sub(-300)) end
  return report
end

--- Waits for what `launch` started. @return what it wrote; when it did not end well also why, the call that it was at, and `guard.at` then
function guard.finish(job)
  local code = tonumber(job.pipe:read("*a"))
  job.pipe:close()
  local output, reason = contents(job.folder .. "/out"), reason_of(code, contents(job.folder .. "/errors"))
  local at, call = contents(job.folder .. "/progress"):match("^(%d+)\t([^\n]*)")
  os.execute("rm -rf " .. job.folder)
  if reason then return output, reason, call or "the start", tonumber(at) end
  return output
end

return guard
