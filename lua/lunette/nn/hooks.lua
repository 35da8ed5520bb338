--- Hooks of modules, and hooks of all modules: registering them, taking them off. What runs when a module with hooks is called stands in hooked.lua.

local arguments = require("lunette.arguments")
local define = require("lunette.define")
local Handle = require("lunette.handle")
local hooked = require("lunette.nn.hooked")
local internals = require("lunette.nn.internals")

local Module = internals.Module
local getmetatable, ipairs = getmetatable, ipairs

local hooks = {}

-- Lists of hooks are replaced, never changed, so that a hook may remove itself or others while they run.
local function with(list, entry, prepend)
  local out = {}
  if prepend then out[1] = entry end
  for _, other in ipairs(list or {}) do out[#out + 1] = other end
  if not prepend then out[#out + 1] = entry end
  return out
end

local function without(list, entry)
  local out = {}
  for _, other in ipairs(list) do
    if other ~= entry then out[#out + 1] = other end
  end
  return out
end

-- A module whose last hook of a call is gone is called directly again.
local function refresh(inner)
  local some = false
  for _, kind in ipairs(hooked.kinds) do some = some or #(inner.hooks[kind] or {}) > 0 end
  internals.set_call(inner, some and hooked.call or nil)
end
hooks.refresh = refresh

local function add(self, kind, entry, prepend)
  local inner = getmetatable(self)
  local own = internals.own(inner, "hooks")
  own[kind] = with(own[kind], entry, prepend)
  refresh(inner)
  return Handle(function()
    own[kind] = without(own[kind], entry)
    refresh(inner)
  end)
end
hooks.add = add

--- Takes the hook `fn` of a kind off.
function hooks.remove(self, kind, fn)
  local inner, kept = getmetatable(self), {}
  for _, entry in ipairs(inner.hooks[kind] or {}) do
    if entry[1] ~= fn then kept[#kept + 1] = entry end
  end
  internals.own(inner, "hooks")[kind] = kept
  refresh(inner)
end

--- Takes the hooks that are `fn` off a module.
function hooks.take_off(self, kind, fn)
  local inner = getmetatable(self)
  local own, kept = internals.own(inner, "hooks"), {}
  for _, entry in ipairs(own[kind] or {}) do
    if entry[1] ~= fn then kept[#kept + 1] = entry end
  end
  own[kind] = kept
  refresh(inner)
end

local method = define.methods(Module, "nn.Module")

method("register_forward_pre_hook", {
  doc = "hook(m, input) before forward: nil, one value, or the array of all inputs to be taken instead. with_kwargs: hook(m, input, kwargs), where kwargs is the "
    .. "table of names that the call ends in, returns both or nothing. prepend: before the hooks that are there.",
  takes = "hook:function, *, prepend:bool=false, with_kwargs:bool=false",
  call = function(self, fn, prepend, with_kwargs) return add(self, "forward_pre", {fn, with_kwargs = with_kwargs}, prepend) end,
})

method("register_forward_hook", {
  doc = "hook(m, input, output) after forward; a value that is not nil replaces the output, which is an array with n where forward returns several values. "
    .. "with_kwargs: hook(m, input, kwargs, output). always_call: also when forward or another hook raises an error.",
  takes = "hook:function, *, prepend:bool=false, with_kwargs:bool=false, always_call:bool=false",
  call = function(self, fn, prepend, with_kwargs, always_call)
    return add(self, "forward", {fn, with_kwargs = with_kwargs, always_call = always_call}, prepend)
  end,
})

local function backward(self, fn, prepend) return add(self, "backward", {fn}, prepend) end

method("register_full_backward_hook", {
  doc = "hook(m, grad_input, grad_output): the gradients of the call's inputs and outputs, as arrays with n, nil where there is none; what it returns, if "
    .. "anything, replaces grad_input.",
  takes = "hook:function, prepend:bool=false",
  call = backward,
})

method("register_backward_hook", {doc = "The same as register_full_backward_hook.", takes = "hook:function", call = backward})

method("register_full_backward_pre_hook", {
  doc = "hook(m, grad_output) before the gradients of the call are computed; what it returns, if anything, replaces grad_output.",
  takes = "hook:function, prepend:bool=false",
  call = function(self, fn, prepend) return add(self, "backward_pre", {fn}, prepend) end,
})

local function define_state_hook(name, kind, doc)
  method(name, {doc = doc, takes = "hook:function", call = function(self, fn) return add(self, kind, {fn}, false) end})
end

define_state_hook("register_state_dict_pre_hook", "state_pre", "hook(m, prefix, keep_vars) before the module's state is written by state_dict.")
define_state_hook("register_state_dict_post_hook", "state_post",
  "hook(m, state_dict, prefix, local_metadata) after the module's state was written; it may change state_dict.")
define_state_hook("register_load_state_dict_pre_hook", "load_pre",
  "hook(m, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs) before the module's state is read; it may change state_dict.")
define_state_hook("register_load_state_dict_post_hook", "load_post",
  "hook(m, {missing_keys =, unexpected_keys =}) after the state of the module and of those below it was read; it may change the two arrays.")

-- Hooks of all modules -----------------------------------------------------------------------------------------------------------------------

local function add_global(kind, entry)
  hooked.all[kind] = with(hooked.all[kind], entry, false)
  internals.set_global_call(hooked.call)
  return Handle(function()
    hooked.all[kind] = without(hooked.all[kind], entry)
    for _, other in ipairs(hooked.kinds) do
      if #hooked.all[other] > 0 then return end
    end
    internals.set_global_call(nil)
  end)
end

local function add_registration(kind, entry)
  internals.on_register[kind] = with(internals.on_register[kind], entry, false)
  return Handle(function() internals.on_register[kind] = without(internals.on_register[kind], entry) end)
end

local declare = define.into(hooks, "nn")

declare("register_module_forward_pre_hook", {
  doc = "hook(m, input) before forward of any module, before its own hooks: nil, one value, or the array of all inputs.",
  takes = "hook:function",
  call = function(fn) return add_global("forward_pre", {fn}) end,
})

declare("register_module_forward_hook", {
  doc = "hook(m, input, output) after forward of any module, before its own hooks; a value that is not nil replaces the output. with_kwargs and always_call as in "
    .. "nn.Module:register_forward_hook.",
  takes = "hook:function, *, with_kwargs:bool=false, always_call:bool=false",
  call = function(fn, with_kwargs, always_call) return add_global("forward", {fn, with_kwargs = with_kwargs, always_call = always_call}) end,
})

for _, name in ipairs({"register_module_full_backward_hook", "register_module_backward_hook"}) do
  declare(name, {
    doc = "hook(m, grad_input, grad_output) for any module, before its own hooks; what it returns, if anything, replaces grad_input.",
    takes = "hook:function",
    call = function(fn) return add_global("backward", {fn}) end,
  })
end

declare("register_module_full_backward_pre_hook", {
  doc = "hook(m, grad_output) for any module, before its own hooks; what it returns, if anything, replaces grad_output.",
  takes = "hook:function",
  call = function(fn) return add_global("backward_pre", {fn}) end,
})

for _, kind in ipairs({"parameter", "buffer", "module"}) do
  declare(("register_module_%s_registration_hook"):format(kind), {
    doc = ("hook(m, name, %s) when a %s is registered anywhere; what it returns, if anything, is registered instead."):format(kind, kind),
    takes = "hook:function",
    call = function(fn) return add_registration(kind, {fn}) end,
  })
end

--- Refuses an answer of a hook that must not give any.
function hooks.expect_nothing(self, what, answer)
  if answer ~= nil then arguments.fail(("%s: a %s must return nothing, not %s"):format(self.class.__name, what, arguments.describe(answer))) end
end

return hooks
