--- lt.scope: tensors made inside are released at its end.

local each = require("lunette.each")
local base = require("lunette.ffi")
local protect = require("lunette.protect")

local C, ffi, check, fail, is_tensor = base.C, base.ffi, base.check, base.fail, base.is_tensor
local type, select, coroutine, error, tonumber = type, select, coroutine, error, tonumber

local OK = tonumber(C.LN_OK)
local scope = base.scope

local function keep_value(value, seen)
  if is_tensor(value) then
    local p = value._p
    if p == nil or p.generation ~= value._gen or seen[value.id] then return end
    seen[value.id] = true
    if C.ln_scope_keep(p) == OK and scope.depth == 1 then ffi.gc(value, C.ln_handle_release) end
  elseif type(value) == "table" and not seen[value] then
    seen[value] = true
    for k, v in each(value) do
      keep_value(k, seen)
      keep_value(v, seen)
    end
  end
end

local function leave(ok, ...)
  if ok then
    local seen = {}
    for i = 1, select("#", ...) do keep_value((select(i, ...)), seen) end
  end
  C.ln_scope_end()
  scope.depth = scope.depth - 1
end

local function finished(body, ok, ...)
  if not ok then protect.hand_on((...)) end
  if coroutine.status(body) ~= "dead" then error("lt.scope: the function must not yield", 0) end
  return ...
end

-- The body is a coroutine, so that a yield ends the scope instead of leaving it.
local function run(body, ...) return finished(body, protect.resume(body, ...)) end

--- Runs fn(...) and releases every tensor made inside that it does not return (also within returned tables), also when it raises.
-- Gradients, parameters and buffers live on. A released tensor is an error when used. fn must not yield.
local function run_scope(fn, ...)
  if type(fn) ~= "function" then fail("scope: a function is expected, got " .. type(fn)) end
  check(C.ln_scope_begin())
  scope.depth = scope.depth + 1
  return protect.call(leave, run, protect.coroutine(fn), ...)
end

return {scope = run_scope}
