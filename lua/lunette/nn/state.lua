--- State dicts of modules: what they hold, writing them, reading them back.
--
-- A class whose saved form changed raises its `_version` and overrides `_load_from_state_dict`, which may rename entries of an older version. A class may hold
-- more than tensors: `get_extra_state()` returns it, `set_extra_state(value)` takes it back.

local each = require("lunette.each")
local arguments = require("lunette.arguments")
local base = require("lunette.ffi")
local define = require("lunette.define")
local hooks = require("lunette.nn.hooks")
local internals = require("lunette.nn.internals")
local ordered = require("lunette.nn.ordered")
local Parameter = require("lunette.nn.parameter").Parameter

local Module, fail, describe = internals.Module, arguments.fail, arguments.describe
local getmetatable, ipairs = getmetatable, ipairs

local EXTRA = "_extra_state"

local method = define.methods(Module, "nn.Module")

-- Runs the hooks of a kind; they must return nothing.
local function run_hooks(self, kind, what, ...)
  for _, entry in ipairs(getmetatable(self).hooks[kind] or {}) do hooks.expect_nothing(self, what, entry[1](self, ...)) end
end

-- What a module saves itself: its parameters and those buffers that are persistent, by kind and name.
local function saved_names(self)
  local inner, out = getmetatable(self), {}
  for _, kind in ipairs({"parameter", "buffer"}) do
    for _, name in ipairs(inner[kind]) do
      if not inner.transient[name] and inner.__index[name] ~= nil then out[#out + 1] = name end
    end
  end
  return out
end

-- Writing --------------------------------------------------------------------------------------------------------------------------------

--- Writes what the module itself holds into `destination`; a class may override it.
function Module:_save_to_state_dict(destination, prefix, keep_vars)
  for _, name in ipairs(saved_names(self)) do
    local t = self[name]
    destination[prefix .. name] = (keep_vars or internals.is_uninitialized(t)) and t or t.data
  end
  if self.get_extra_state then destination[prefix .. EXTRA] = self:get_extra_state() end
end

method("state_dict", {
  doc = "An ordered map name -> tensor of parameters and buffers, children after their parent's own. destination: a map or table to write into; prefix: stands before "
    .. "the names; keep_vars: the parameters themselves instead of detached tensors.",
  takes = "destination:map?, prefix:string=, keep_vars:bool=false",
  call = function(self, destination, prefix, keep_vars)
    destination = destination or ordered.map()
    run_hooks(self, "state_pre", "state_dict pre-hook", prefix, keep_vars)
    local metadata, own = ordered.metadata(destination), {version = self._version}
    if metadata then metadata[prefix:gsub("%.$", "")] = own end
    self:_save_to_state_dict(destination, prefix, keep_vars)
    local inner = getmetatable(self)
    for _, name in ipairs(inner.module) do
      local child = inner.__index[name]
      if child ~= nil then child:state_dict(destination, prefix .. name .. ".", keep_vars) end
    end
    run_hooks(self, "state_post", "state_dict post-hook", destination, prefix, own)
    return destination
  end,
})

-- Reading --------------------------------------------------------------------------------------------------------------------------------

local function fit(t, saved)
  if #t.shape == 0 and #saved.shape == 1 and saved.shape[0] == 1 then return saved[0] end
  return saved
end

local mismatch = "size mismatch for %s: copying a param with shape %s from checkpoint, the shape in current model is %s."

-- Puts the saved tensor itself in the place of a parameter or buffer.
local function assign(self, name, t, saved)
  if internals.is_parameter(t) then
    saved = internals.is_parameter(saved) and saved:requires_grad_(t.requires_grad) or Parameter(saved, t.requires_grad)
  end
  self[name] = saved
end

local function load_one(self, report, name, key, saved)
  local t = self[name]
  if not base.is_tensor(saved) then
    report.errors[#report.errors + 1] = ("%s: a tensor is needed, not %s."):format(key, describe(saved))
    return
  end
  if internals.is_uninitialized(saved) then
    if not internals.is_uninitialized(t) then
      report.errors[#report.errors + 1] = ("%s: the state dict has an uninitialised parameter or buffer, of a lazy module that was never called."):format(key)
    end
    return
  end
  if internals.is_uninitialized(t) then internals.materialize(t, saved.shape) end
  saved = fit(t, saved)
  if saved.shape ~= t.shape then
    report.errors[#report.errors + 1] = mismatch:format(key, tostring(saved.shape), tostring(t.shape))
  elseif report.assign then
    assign(self, name, t, saved)
  else
    t.data:copy_(saved.data)
  end
end

--- Copies what state_dict holds for this module alone under `prefix`. local_metadata: {version = n} of the writer, {} when unknown.
--- report: arrays missing, unexpected, errors, to which it appends; assign: whether tensors are taken instead of copied. strict: whether names beside the
--- module's own are noted.
function Module:_load_from_state_dict(state_dict, prefix, local_metadata, strict, report) -- luacheck: no unused args
  for _, name in ipairs(saved_names(self)) do
    local key = prefix .. name
    if state_dict[key] ~= nil then load_one(self, report, name, key, state_dict[key]) else report.missing[#report.missing + 1] = key end
  end
  if self.set_extra_state then
    if state_dict[prefix .. EXTRA] ~= nil then
      self:set_extra_state(state_dict[prefix .. EXTRA])
    else
      report.missing[#report.missing + 1] = prefix .. EXTRA
    end
  end
end

local function load_tree(self, state_dict, metadata, prefix, report)
  local inner, own = getmetatable(self), metadata[prefix:gsub("%.$", "")] or {}
  for _, entry in ipairs(inner.hooks.load_pre or {}) do
    entry[1](self, state_dict, prefix, own, true, report.missing, report.unexpected, report.errors)
  end
  self:_load_from_state_dict(state_dict, prefix, own, true, report)
  for _, name in ipairs(inner.module) do
    local child = inner.__index[name]
    if child ~= nil then load_tree(child, state_dict, metadata, prefix .. name .. ".", report) end
  end
end

-- Hooks after loading, those of modules below first.
local function finish_tree(self, keys)
  local inner = getmetatable(self)
  for _, name in ipairs(inner.module) do
    local child = inner.__index[name]
    if child ~= nil then finish_tree(child, keys) end
  end
  internals.renew_derived(self)
  run_hooks(self, "load_post", "load_state_dict post-hook", keys)
end

local function names_line(title, names)
  local quoted = {}
  for i, name in ipairs(names) do quoted[i] = type(name) == "string" and '"' .. name .. '"' or describe(name) end
  return ("%s key(s) in state_dict: %s. "):format(title, table.concat(quoted, ", "))
end

-- The names of everything the tree saves; what is shared stands under each of its names.
local function all_names(self, prefix, out)
  for _, name in ipairs(saved_names(self)) do out[prefix .. name] = true end
  if self.set_extra_state then out[prefix .. EXTRA] = true end
  local inner = getmetatable(self)
  for _, name in ipairs(inner.module) do
    local child = inner.__index[name]
    if child ~= nil then all_names(child, prefix .. name .. ".", out) end
  end
  return out
end

local function find_unexpected(self, state_dict, unexpected)
  local known = all_names(self, "", {})
  for _, key in ipairs(ordered.keys(state_dict)) do
    if not known[key] then unexpected[#unexpected + 1] = key end
  end
end

local function plain_copy(state_dict)
  local copy = ordered.map(state_dict)
  local metadata = ordered.metadata(state_dict)
  for key, value in each(metadata or {}) do ordered.metadata(copy)[key] = value end
  return copy
end

method("load_state_dict", {
  doc = "Copies values into parameters and buffers. strict: missing and unexpected names are an error; assign: the tensors take the place of the module's own. Returns "
    .. "the missing and the unexpected names as two arrays.",
  takes = "state_dict:map, strict:bool=true, assign:bool=false",
  several = true,
  call = function(self, given, strict, assigned)
    local state_dict = plain_copy(given)
    local report = {missing = {}, unexpected = {}, errors = {}, assign = assigned}
    load_tree(self, state_dict, ordered.metadata(state_dict), "", report)
    find_unexpected(self, state_dict, report.unexpected)
    finish_tree(self, {missing_keys = report.missing, unexpected_keys = report.unexpected})
    if strict then
      if #report.unexpected > 0 then table.insert(report.errors, 1, names_line("Unexpected", report.unexpected)) end
      if #report.missing > 0 then table.insert(report.errors, 1, names_line("Missing", report.missing)) end
    end
    if #report.errors > 0 then
      fail(("Error(s) in loading state_dict for %s:\n\t%s"):format(self.class.__name, table.concat(report.errors, "\n\t")))
    end
    return report.missing, report.unexpected
  end,
})

return Module
