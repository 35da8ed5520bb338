--- Programs on a pseudo-terminal: what is typed, what they write, how they end.

local ffi = require("ffi")
require("spec.child")

ffi.cdef[[
struct ln_winsize { unsigned short rows, columns, x, y; };
int forkpty(int *terminal, char *name, const void *modes, const struct ln_winsize *size);
int execvp(const char *file, char *const *arguments);
int setenv(const char *name, const char *value, int overwrite);
int unsetenv(const char *name);
long read(int descriptor, void *buffer, size_t size);
long write(int descriptor, const void *buffer, size_t size);
int close(int descriptor);
]]
pcall(ffi.cdef, "struct ln_pollfd { int fd; short events, revents; };")
pcall(ffi.cdef, "int poll(struct ln_pollfd *fds, unsigned long n, int timeout);")

local function library()
  return pcall(function() return ffi.C.forkpty end) and ffi.C or ffi.load("util") -- where glibc is older than 2.34
end

local Terminal = {}
Terminal.__index = Terminal

local PATIENCE = 3
local LIMIT = 60 -- seconds for an answer: a machine may be busy

local function pointers(words)
  local list = ffi.new("const char *[?]", #words + 1)
  for i, word in ipairs(words) do list[i - 1] = word end
  return list
end

--- Starts a program: its words, and its environment as a table (false removes a name).
function Terminal.start(words, environment)
  local descriptor, list = ffi.new("int[1]"), pointers(words)
  local pid = library().forkpty(descriptor, nil, nil, ffi.new("struct ln_winsize", {40, 120}))
  if pid == 0 then
    for name, value in pairs(environment or {}) do
      if value then ffi.C.setenv(name, value, 1) else ffi.C.unsetenv(name) end
    end
    ffi.C.execvp(words[1], ffi.cast("char *const *", list))
    ffi.C._exit(127)
  end
  return setmetatable({pid = pid, descriptor = descriptor[0], seen = "", at = 1}, Terminal)
end

local buffer = ffi.new("char[65536]")

-- Takes in what the program has written within so many milliseconds. @return false at its end
function Terminal:take(milliseconds)
  local fds = ffi.new("struct ln_pollfd[1]", {{fd = self.descriptor, events = 1}})
  if ffi.C.poll(fds, 1, milliseconds) <= 0 then return true end
  local n = tonumber(ffi.C.read(self.descriptor, buffer, 65536))
  if n <= 0 then return false end
  self.seen = self.seen .. ffi.string(buffer, n)
  return true
end

function Terminal:type(text)
  assert(tonumber(ffi.C.write(self.descriptor, text, #text)) == #text)
  return self
end

--- Waits until the program has written a text (plain) behind what was waited for before. @return what stands before it
function Terminal:wait(text)
  local ends = os.time() + LIMIT
  while true do
    local first, last = self.seen:find(text, self.at, true)
    if first then
      local before = self.seen:sub(self.at, first - 1)
      self.at = last + 1
      return before
    end
    local alive = self:take(100)
    if not alive or os.time() > ends then
      error(("%q was not written %s; there is %q"):format(text, alive and "in time" or "before the program ended", self.seen:sub(self.at)), 2)
    end
  end
end

--- Types a line and waits for a text behind its echo.
function Terminal:enter(line, answer)
  self:type(line .. "\r")
  return answer and self:wait(answer)
end

--- Waits for the program's end, typing `again` every few seconds: a key is lost that comes while an editor changes how the terminal works.
--- @return its status as a shell has it
function Terminal:finish(again)
  local now = os.time()
  local ends, next_key = now + LIMIT, now + PATIENCE
  while self:take(100) and os.time() < ends do
    if again and os.time() >= next_key then
      self:type(again)
      next_key = os.time() + PATIENCE
    end
  end
  ffi.C.close(self.descriptor)
  local status = require("spec.child").wait(self.pid)
  return bit.band(status, 127) == 0 and bit.rshift(status, 8) or 128 + bit.band(status, 127)
end

return Terminal
