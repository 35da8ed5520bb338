--- What is recorded: no_grad, enable_grad, set_grad_enabled; and anomaly mode.

local base = require("lunette.ffi")
local protect = require("lunette.protect")

local C, fail = base.C, base.fail
local bit, type, coroutine, getinfo = bit, type, coroutine, debug.getinfo

local modes = {}
local GRAD, ANOMALY = 1, 2

-- In a coroutine fn may yield: it runs in one of its own, so that the mode is changed whenever it is left or entered.
local function resumable(mode, fn, ...)
  local inner = protect.coroutine(fn)
  local function resume(...)
    local outer = C.ln_mode_set(mode)
    local function step(ok, ...)
      mode = C.ln_mode_set(outer)
      if not ok then protect.hand_on((...)) end
      if coroutine.status(inner) == "dead" then return ... end
      return resume(coroutine.yield(...))
    end
    return step(protect.resume(inner, ...))
  end
  return resume(...)
end

--- Runs fn(...) with a bit of the mode set or cleared; the mode is restored when fn returns, raises, and while it yields. `name` is the caller's.
local function with_mode(name, mask, on, fn, ...)
  if type(fn) ~= "function" then fail(("%s takes a function: lt.%s(function() ... end)"):format(name, name)) end
  local former = C.ln_mode_get()
  local mode = on and bit.bor(former, mask) or bit.band(former, bit.bnot(mask))
  if coroutine.running() then return resumable(mode, fn, ...) end
  C.ln_mode_set(mode)
  return protect.call(function() C.ln_mode_set(former) end, fn, ...)
end

--- Runs fn(...) without recording; returns what it returns.
function modes.no_grad(fn, ...) return with_mode("no_grad", GRAD, false, fn, ...) end

--- Runs fn(...) with recording switched on again.
function modes.enable_grad(fn, ...) return with_mode("enable_grad", GRAD, true, fn, ...) end

--- Runs fn(...) with recording on or off; without fn switches it for good.
function modes.set_grad_enabled(on, fn, ...)
  if type(on) ~= "boolean" then fail("set_grad_enabled: a boolean is expected, got " .. type(on)) end
  if fn ~= nil then return with_mode("set_grad_enabled", GRAD, on, fn, ...) end
  local mode = C.ln_mode_get()
  C.ln_mode_set(on and bit.bor(mode, GRAD) or bit.band(mode, bit.bnot(GRAD)))
end

--- Are operations recorded for gradients?
function modes.is_grad_enabled() return bit.band(C.ln_mode_get(), GRAD) ~= 0 end

-- In anomaly mode every operator notes the Lua line of its caller before it runs.
local function note_line()
  local level = 2
  local info = getinfo(level, "Sl")
  while info and (info.what == "C" or info.currentline < 0 or info.source:sub(1, #base.root) == base.root) do
    level = level + 1
    info = getinfo(level, "Sl")
  end
  C.ln_anomaly_locate(info and ("%s:%d"):format(info.short_src, info.currentline) or "")
end

--- Runs fn(...) so that a backward that fails, or makes nan, names the operator and the Lua line that called it. Slow.
function modes.detect_anomaly(fn, ...)
  local former = base.anomaly
  base.anomaly = note_line
  return protect.call(function()
    base.anomaly = former
    C.ln_anomaly_locate("")
  end, with_mode, "autograd.detect_anomaly", ANOMALY, true, fn, ...)
end

return modes
