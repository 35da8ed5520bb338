--- Calls that clean up after an error and hand it on, with its traceback where nobody else could show one.
--
-- A message that is caught by pcall, or leaves a coroutine, is handed on as it was. One that the host program or an xpcall will see gets the traceback
-- of where it was raised added, since theirs begins where it is handed on.

local getinfo, require = debug.getinfo, require
local error, pcall, xpcall, type, setmetatable, coroutine = error, pcall, xpcall, type, setmetatable, coroutine

local protect = {}

local ours = setmetatable({}, {__mode = "k"}) -- the coroutines made here
local raised = {} -- of the error on its way: its message, and the traceback of where it was raised

local function note(message, thread)
  if type(message) ~= "string" or message == raised.message then return end
  raised.message, raised.trace = message, require("lunette.trace").text(thread and 0 or 2, thread)
end

local function handler(message)
  note(message)
  return message
end

--- Who will see an error that is raised now: "pcall", "xpcall", "host", "caller" of one of our coroutines, "resumer" of another one.
local function catcher()
  local level = 2
  local info = getinfo(level, "f")
  while info do
    if info.func == pcall then return "pcall" end
    if info.func == xpcall then
      local above = getinfo(level + 1, "f")
      if not above or above.func ~= protect.call then return "xpcall" end
    end
    level = level + 1
    info = getinfo(level, "f")
  end
  local running = coroutine.running()
  return not running and "host" or ours[running] and "caller" or "resumer"
end

--- Raises a message that was caught, as the head of this file says.
local function hand_on(message)
  if raised.message == message then
    local who = catcher()
    if who == "xpcall" or who == "host" then
      message = message .. raised.trace
      raised.message, raised.trace = message, ""
    elseif who ~= "caller" then
      raised.message = nil
    end
  end
  error(message, 0)
end
protect.hand_on = hand_on

local function after(finish, ok, ...)
  finish(ok, ...)
  if not ok then hand_on((...)) end
  return ...
end

--- Returns what fn(...) returns or raises what it raises, after finish(ok, ...), which gets what fn returned or the message.
function protect.call(finish, fn, ...)
  return after(finish, xpcall(fn, handler, ...))
end

--- A coroutine for `resume`.
function protect.coroutine(fn)
  local thread = coroutine.create(fn)
  ours[thread] = true
  return thread
end

local function noted(thread, ok, ...)
  if not ok then note((...), thread) end
  return ok, ...
end

--- coroutine.resume of such a coroutine; a message that it gives is then for `hand_on`.
function protect.resume(thread, ...) return noted(thread, coroutine.resume(thread, ...)) end

return protect
