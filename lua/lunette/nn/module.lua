--- nn.Module: what every module can do. What a module is made of stands in internals.lua, conversions in convert.lua, hooks in hooks.lua, state dicts in
--- state.lua, summary in summary.lua.

local each = require("lunette.each")
local arguments = require("lunette.arguments")
local base = require("lunette.ffi")
local define = require("lunette.define")
local internals = require("lunette.nn.internals")
local list = require("lunette.nn.list")
local ffi = require("ffi")

local Module, fail, describe, is_module = internals.Module, arguments.fail, arguments.describe, arguments.is_module
local getmetatable, ipairs, type = getmetatable, ipairs, type

local method = define.methods(Module, "nn.Module")

Module._version = 1
Module.dump_patches = false

--- Subclasses put theirs in its place; calling it is allowed and does nothing.
function Module.__init() end

method("forward", {
  doc = "What a call of the module computes; subclasses write it: function Net:forward(x).",
  takes = "input:any...",
  call = function(self) fail(("%s has no forward; write function %s:forward(x)"):format(self.class.__name, self.class.__name)) end,
})

-- Walking the tree -----------------------------------------------------------------------------------------------------------------------

-- {path, module} pairs of a module and all below it. `seen`: modules that are left out, to which those found are added; nil to list a shared one under each
-- of its paths. `above`: the modules that lead here.
local function walk(self, seen, prefix, out, above)
  if seen and seen[self] then return out end
  if above[self] then fail(("the module at '%s' contains itself"):format(prefix)) end
  if seen then seen[self] = true end
  above[self] = true
  out[#out + 1] = {prefix, self}
  local inner = getmetatable(self)
  for _, name in ipairs(inner.module) do
    local child = inner.__index[name]
    if child then walk(child, seen, prefix == "" and name or prefix .. "." .. name, out, above) end
  end
  above[self] = nil
  return out
end

-- Modules and parameters in plain tables -------------------------------------------------------------------------------------------------

local DEEPEST = 3 -- tables in tables that are looked into
local warned = {}

local function holds_registrable(value, depth)
  if is_module(value) or internals.is_parameter(value) then return true end
  if type(value) ~= "table" or getmetatable(value) or depth > DEEPEST then return false end
  for _, entry in each(value) do
    if holds_registrable(entry, depth + 1) then return true end
  end
  return false
end

-- Says once for each field of a class that what lies in a plain table is not registered.
local function warn_of_tables(self)
  for name, value in each(internals.plain_fields(self)) do
    local field = ("%s.%s"):format(self.class.__name, tostring(name))
    if type(value) == "table" and not warned[field] and holds_registrable(value, 1) then
      warned[field] = true
      io.stderr:write(("warning: %s is a plain table: the modules and parameters in it are not registered, so they are neither trained nor saved; use "
        .. "nn.ModuleList, nn.ModuleDict or nn.ParameterList\n"):format(field))
    end
  end
end

-- {name, tensor} pairs of one kind; `once`: each tensor once.
local function tensors_of(self, kind, prefix, recurse, once)
  local out, seen = {}, {}
  for _, pair in ipairs(recurse and walk(self, once and {} or nil, prefix, {}, {}) or {{prefix, self}}) do
    local path, inner = pair[1], getmetatable(pair[2])
    if kind == "parameter" then warn_of_tables(pair[2]) end
    for _, name in ipairs(inner[kind]) do
      local t = inner.__index[name]
      if t ~= nil and not (once and seen[t.id]) then
        seen[t.id] = true
        out[#out + 1] = {path == "" and name or path .. "." .. name, t}
      end
    end
  end
  return out
end

local function seconds(pairs_array)
  local out = {}
  for i, pair in ipairs(pairs_array) do out[i] = pair[2] end
  return list.of(out)
end

local NAMED = "prefix:string=, recurse:bool=true, remove_duplicate:bool=true"

-- parameters and named_parameters, buffers and named_buffers.
local function define_lists(kind, plural)
  method(plural, {
    doc = ("The %s as an array that can also stand after `in`; recurse: those of the modules below too."):format(plural),
    takes = "recurse:bool=true",
    call = function(self, recurse) return seconds(tensors_of(self, kind, "", recurse, true)) end,
  })
  method("named_" .. plural, {
    doc = ("{name, %s} pairs, an array that gives two values after `in`; remove_duplicate = false lists a shared one under each of its names."):format(kind),
    takes = NAMED,
    call = function(self, prefix, recurse, once) return list.of(tensors_of(self, kind, prefix, recurse, once), true) end,
  })
end

define_lists("parameter", "parameters")
define_lists("buffer", "buffers")

local function named_children(self)
  local inner, out, seen = getmetatable(self), {}, {}
  for _, name in ipairs(inner.module) do
    local child = inner.__index[name]
    if child and not seen[child] then
      seen[child] = true
      out[#out + 1] = {name, child}
    end
  end
  return out
end

method("children", {doc = "The modules directly below, each once.", call = function(self) return seconds(named_children(self)) end})

method("named_children", {doc = "{name, module} pairs of the modules directly below, each once.", call = function(self) return list.of(named_children(self), true) end})

method("modules", {
  doc = "The module itself and all below it; remove_duplicate = false lists a shared one as often as it occurs.",
  takes = "remove_duplicate:bool=true",
  call = function(self, once) return seconds(walk(self, once and {} or nil, "", {}, {})) end,
})

method("named_modules", {
  doc = "{path, module} pairs of the module itself, whose path is the prefix, and all below it; memo: a table whose keys are modules to be left out, to which those "
    .. "found are added.",
  takes = "memo:map?, prefix:string=, remove_duplicate:bool=true",
  call = function(self, memo, prefix, once) return list.of(walk(self, once and (memo or {}) or nil, prefix, {}, {}), true) end,
})

method("apply", {
  doc = "Calls fn with each module, those below first; returns the module.",
  takes = "fn:function",
  call = function(self, fn)
    for child in self:children() do child:apply(fn) end
    fn(self)
    return self
  end,
})

-- By path ----------------------------------------------------------------------------------------------------------------------------------

-- The module that `path` leads to from here; nil or "" is the module itself.
local function descend(self, owner, path)
  local m = self
  for name in (path == "" and "" or path .. "."):gmatch("(.-)%.") do
    local inner = getmetatable(m)
    if inner.kind[name] ~= "module" or inner.__index[name] == nil then
      fail(("%s: %s has no module '%s'%s (path '%s')"):format(owner, inner.class.__name, name, arguments.hint(name, inner.module), path))
    end
    m = inner.__index[name]
  end
  return m
end

-- A tensor of one kind by its path.
local function tensor_at(self, owner, kind, path)
  local above, name = path:match("^(.*)%.([^.]*)$")
  local inner = getmetatable(descend(self, owner, above or ""))
  name = name or path
  if inner.kind[name] ~= kind or inner.__index[name] == nil then
    fail(("%s: %s has no %s '%s'%s"):format(owner, inner.class.__name, kind, name, arguments.hint(name, inner[kind])))
  end
  return inner.__index[name]
end

method("get_submodule", {
  doc = "The module at a path such as \"layers.0.fc\"; \"\" is the module itself.",
  takes = "target:string",
  call = function(self, target) return descend(self, "get_submodule", target) end,
})

method("get_parameter", {
  doc = "The parameter at a path such as \"layers.0.weight\".",
  takes = "target:string",
  call = function(self, target) return tensor_at(self, "get_parameter", "parameter", target) end,
})

method("get_buffer", {
  doc = "The buffer at a path such as \"bn.running_mean\".",
  takes = "target:string",
  call = function(self, target) return tensor_at(self, "get_buffer", "buffer", target) end,
})

method("set_submodule", {
  doc = "Puts a module at a path; strict: only in the place of another one.",
  takes = "target:string, module:module, strict:bool=false",
  call = function(self, target, module, strict)
    if target == "" then fail("set_submodule: the path must not be empty") end
    local above, name = target:match("^(.*)%.([^.]*)$")
    name = name or target
    local owner = descend(self, "set_submodule", above or "")
    if strict or owner.class[name] ~= nil then descend(owner, "set_submodule", name) end
    owner[name] = module
  end,
})

-- Registration ---------------------------------------------------------------------------------------------------------------------------

local function add_module(self, name, module) internals.register_new(self, "module", name, module) end

method("add_module", {doc = "Registers a module under a name that is not taken; nil keeps only the name.", takes = "name:string, module:module?", call = add_module})

method("register_module", {doc = "The same as add_module.", takes = "name:string, module:module?", call = add_module})

method("register_parameter", {
  doc = "Registers an nn.Parameter under a name that is not taken; nil keeps only the name.",
  takes = "name:string, param:tensor?",
  call = function(self, name, param)
    if param ~= nil and not internals.is_parameter(param) then
      fail(("register_parameter: '%s' must be an nn.Parameter or nil, not %s"):format(name, describe(param)))
    end
    if param ~= nil and not param.is_leaf then
      fail(("register_parameter: '%s' must be a leaf, but it was computed by %s"):format(name, tostring(param.grad_fn)))
    end
    internals.register_new(self, "parameter", name, param)
  end,
})

method("register_buffer", {
  doc = "Registers a tensor that is no parameter and belongs to the state; nil keeps only the name; persistent = false leaves it out of state dicts.",
  takes = "name:string, tensor:tensor?, persistent:bool=true",
  call = function(self, name, tensor, persistent) internals.register_new(self, "buffer", name, tensor, not persistent) end,
})

-- Modes and gradients --------------------------------------------------------------------------------------------------------------------

method("train", {
  doc = "Sets `training` here and below; returns the module.",
  takes = "mode:bool=true",
  call = function(self, mode)
    self.training = mode
    for child in self:children() do child:train(mode) end
    return self
  end,
})

method("eval", {doc = "train(false).", call = function(self) return self:train(false) end})

method("requires_grad_", {
  doc = "Whether the parameters want gradients; returns the module.",
  takes = "requires_grad:bool=true",
  call = function(self, on)
    for p in self:parameters() do p:requires_grad_(on) end
    return self
  end,
})

-- The parameters of the tree as a C array, made anew when any module anywhere was changed since.
local function pointers_of(self, inner)
  local cache = inner.pointers
  if cache and cache.changes == internals.changes then return cache end
  local params = self:parameters()
  cache = {changes = internals.changes, params = params, n = #params, array = ffi.new("ln_tensor *[?]", math.max(#params, 1))}
  for i = 1, #params do cache.array[i - 1] = base.pointer(params[i]) end
  inner.pointers = cache
  return cache
end

method("zero_grad", {
  doc = "Fills the gradients of the parameters with zeros, or drops them.",
  takes = "set_to_none:bool=false",
  call = function(self, set_to_none)
    local cache = pointers_of(self, getmetatable(self))
    base.check(base.C.ln_zero_grad(cache.array, cache.n, set_to_none))
  end,
})

-- Text -----------------------------------------------------------------------------------------------------------------------------------

--- Override: what stands in the brackets of the text, one or several lines.
function Module.extra_repr() return "" end

function Module:_get_name() return self.class.__name end

-- The lines of the children. A class may combine equal neighbours, as ModuleList does: `(0-1): 2 x ReLU()`.
local function child_lines(self, lines)
  local inner, previous = getmetatable(self), nil
  for _, name in ipairs(inner.module) do
    local child = inner.__index[name]
    local text = tostring(child ~= nil and child or "None"):gsub("\n", "\n  ")
    if previous and self.class.__groups and previous.text == text then
      previous.last, previous.count = name, previous.count + 1
    else
      previous = {text = text, first = name, last = name, count = 1}
      lines[#lines + 1] = previous
    end
  end
end

local function line_text(line)
  if type(line) == "string" then return line end
  if line.count == 1 then return ("(%s): %s"):format(line.first, line.text) end
  return ("(%s-%s): %d x %s"):format(line.first, line.last, line.count, line.text)
end

function Module:__repr()
  local extra, lines = self:extra_repr(), {}
  if type(extra) ~= "string" then fail(("%s: extra_repr must return a string, not %s"):format(self.class.__name, describe(extra))) end
  for line in (extra ~= "" and extra .. "\n" or ""):gmatch("(.-)\n") do lines[#lines + 1] = line end
  local n_extra = #lines
  child_lines(self, lines)
  if #lines == 0 then return self:_get_name() .. "()" end
  if n_extra == 1 and #lines == 1 then return ("%s(%s)"):format(self:_get_name(), lines[1]) end
  for i, line in ipairs(lines) do lines[i] = line_text(line) end
  return ("%s(\n  %s\n)"):format(self:_get_name(), table.concat(lines, "\n  "))
end

return Module
