--- Ctrl-C in the command: the signal handler (lib/core/interrupt.c) makes operators and long kernels end, and arms a debug hook that ends Lua code.
--
-- In Lunette's own code the hook waits until an operator fails or the code of the user goes on, so that nothing of ours is left half done. Compiled code calls
-- no hook. What is typed at the prompt looks itself (compile.lua); for loops of other files, while a prompt is open, `watch` leaves those to the interpreter
-- which could run for ever without a call of C.

local bit = require("bit")
local ffi = require("ffi")
local base = require("lunette.ffi")
local errors = require("lunette.errors")

require("lunette.interpreted")()

local C, getinfo = base.C, debug.getinfo

ffi.cdef[[
void *lua_gethook(void *L);
int lua_sethook(void *L, void *hook, int mask, int count);
]]

local interrupt = {}

local COUNT = 8 -- LUA_MASKCOUNT
local OWN_STEP, OWN_MOST = 100, 10000 -- instructions between two looks in our own code, and how many looks we wait
local GRACE = 10000 -- instructions that a handler may take before the next error
local PATIENCE = 1 -- seconds that a script has to heed

local lua, hook_pointer -- for lua_sethook; a hook belongs to all coroutines of the state, whichever is named
local anchor = coroutine.create(function() end)
local lasting = false -- at a prompt an interrupt lasts until the prompt takes it, else one error is all
local waited, raised = 0, 0

local function arm(count)
  if hook_pointer then ffi.C.lua_sethook(lua, hook_pointer, count and COUNT or 0, count or 0) end
end

-- An interrupt becomes an error. One that lasts comes again, should a pcall have caught it: at first after a while, for handlers, then at once.
local function note()
  waited, raised = 0, raised + 1
  if lasting then return arm(raised < 4 and GRACE or 1) end
  C.ln_interrupt_clear()
  arm(nil)
end

local function hook()
  if not C.ln_interrupted() then return arm(nil) end
  local info = getinfo(2, "S")
  if info and errors.is_own(info.source) and waited < OWN_MOST then
    waited = waited + 1
    return arm(OWN_STEP)
  end
  note()
  error("interrupted", 2)
end

-- debug.sethook leaves `hook` where LuaJIT's C function for hooks finds it; the signal handler switches that on.
local function prepare()
  debug.sethook(hook, "", 1000000000)
  local ok, pointer = pcall(function() return ffi.C.lua_gethook(lua) end)
  hook_pointer = ok and pointer or nil
  debug.sethook()
  debug.sethook(hook, "", 1000000000)
  arm(nil)
end

local function address() return ffi.cast("void *", ffi.cast("uintptr_t", tonumber(tostring(anchor):match("0x%x+")))) end

local function catch(patience)
  waited, raised = 0, 0
  lua = address()
  prepare()
  base.hooks.interrupted = note
  local sethook = hook_pointer and ffi.cast("void *", ffi.C.lua_sethook)
  base.check(C.ln_interrupt_catch(sethook, lua, hook_pointer, COUNT, 1, patience))
end

-- Traces that go round without calling C -------------------------------------------------------------------------------------------------

local ROUND = {loop = true, root = true, ["tail-recursion"] = true, ["up-recursion"] = true, ["down-recursion"] = true}
local util, call_of_c

-- The number of the instruction that calls a C function.
local function find_call()
  local ok, vmdef = pcall(require, "jit.vmdef")
  local names = ok and vmdef.irnames or ""
  for i = 0, #names / 6 - 1 do
    if names:sub(6 * i + 1, 6 * i + 6):match("%S+") == "CALLXS" then return i end
  end
end

local function calls_c(trace, info)
  for i = 1, info.nins do
    local _, instruction = util.traceir(trace, i)
    if instruction and bit.rshift(instruction, 8) == call_of_c then return true end
  end
  return false
end

local function watch(what, trace, fn)
  if what ~= "stop" then return end
  local info = util.traceinfo(trace)
  if not info or not ROUND[info.linktype] or type(fn) ~= "function" then return end
  local source = getinfo(fn, "S").source
  if errors.is_own(source) or source == "=(prompt)" or calls_c(trace, info) then return end
  pcall(jit.flush, trace)
  pcall(jit.off, fn)
end

-- The prompt's and the command's ---------------------------------------------------------------------------------------------------------

--- For a script: an interrupt is one error; a second one, or a second in which nothing heeds, ends the process.
function interrupt.catch_for_script()
  lasting = false
  catch(PATIENCE)
end

--- For a prompt.
function interrupt.catch_for_prompt()
  lasting = true
  util = require("jit.util")
  call_of_c = find_call()
  catch(0)
  jit.attach(watch, "trace")
end

--- The signal does what it did before.
function interrupt.release()
  C.ln_interrupt_release()
  base.hooks.interrupted = nil
  debug.sethook()
  jit.attach(watch)
end

--- Is an interrupt wanted, or has it become an error? It is over then.
function interrupt.take()
  local wanted = C.ln_interrupted() or raised > 0
  C.ln_interrupt_clear()
  arm(nil)
  waited, raised = 0, 0
  return wanted
end

--- Before the prompt runs something: what came while it waited does not count, and a hook that was set meanwhile is replaced.
function interrupt.begin()
  prepare()
  interrupt.take()
end

return interrupt
