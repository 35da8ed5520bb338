--- State dicts of modules: what they hold, writing them, reading them back.
--
-- A class whose saved form changed raises its `_version` and overrides `_load_from_state_dict`, which may rename entries of an older version.

local each = require("lunette.each")
local arguments = require("lunette.arguments")
local base = require("lunette.ffi")
local class = require("lunette.nn.class")
local ordered = require("lunette.nn.ordered")

local Module, record_of, fail = class.Module, class.record_of, arguments.fail
local describe = arguments.describe

local parse_state = arguments.signature("state_dict", "destination:any?, prefix:string=, keep_vars:bool=false")
local parse_load = arguments.signature("load_state_dict", "state_dict:map, strict:bool=true")

local function save_kind(record, kind, destination, prefix, keep_vars)
  for _, name in ipairs(record[kind]) do
    local t = record.__index[name]
    if t ~= nil then destination[prefix .. name] = keep_vars and t or t.data end
  end
end

local function save(self, destination, prefix, keep_vars)
  local record = getmetatable(self)
  local metadata = ordered.metadata(destination)
  if metadata then metadata[prefix:gsub("%.$", "")] = {version = self._version} end
  save_kind(record, "parameter", destination, prefix, keep_vars)
  save_kind(record, "buffer", destination, prefix, keep_vars)
  for _, name in ipairs(record.module) do
    local child = record.__index[name]
    if child ~= nil then child:state_dict(destination, prefix .. name .. ".", keep_vars) end
  end
  return destination
end

--- An ordered map name -> tensor of parameters and buffers, children after their parent's own.
function Module:state_dict(...)
  record_of(self, "state_dict")
  local destination, prefix, keep_vars = parse_state(...)
  if destination ~= nil and type(destination) ~= "table" then fail("state_dict: destination must be a table, not " .. describe(destination)) end
  return save(self, destination or ordered.map(), prefix, keep_vars)
end

-- Reading --------------------------------------------------------------------------------------------------------------------------------

local function fit(t, saved)
  if #t.shape == 0 and #saved.shape == 1 and saved.shape[0] == 1 then return saved[0] end
  return saved
end

local mismatch = "size mismatch for %s: copying a param with shape %s from checkpoint, the shape in current model is %s."

local function load_one(report, key, t, saved)
  if not base.is_tensor(saved) then
    report.errors[#report.errors + 1] = ("%s: a tensor is needed, not %s."):format(key, describe(saved))
    return
  end
  saved = fit(t, saved)
  if saved.shape ~= t.shape then
    report.errors[#report.errors + 1] = mismatch:format(key, tostring(saved.shape), tostring(t.shape))
    return
  end
  t.data:copy_(saved.data)
end

--- Copies what state_dict holds for this module alone under `prefix`. local_metadata: {version = n} of the writer, {} when unknown.
--- report: arrays missing, unexpected, errors, to which it appends; strict: whether names beside the module's own are noted.
function Module:_load_from_state_dict(state_dict, prefix, local_metadata, strict, report) -- luacheck: no unused args
  local record = getmetatable(self)
  for _, kind in ipairs({"parameter", "buffer"}) do
    for _, name in ipairs(record[kind]) do
      local t, key = record.__index[name], prefix .. name
      if t ~= nil then
        if state_dict[key] ~= nil then load_one(report, key, t, state_dict[key]) else report.missing[#report.missing + 1] = key end
      end
    end
  end
end

local function load_tree(self, state_dict, metadata, prefix, strict, report)
  local record = getmetatable(self)
  self:_load_from_state_dict(state_dict, prefix, metadata[prefix:gsub("%.$", "")] or {}, strict, report)
  for _, name in ipairs(record.module) do
    local child = record.__index[name]
    if child ~= nil then load_tree(child, state_dict, metadata, prefix .. name .. ".", strict, report) end
  end
end

local function names_line(title, names)
  local quoted = {}
  for i, name in ipairs(names) do quoted[i] = type(name) == "string" and '"' .. name .. '"' or describe(name) end
  return ("%s key(s) in state_dict: %s. "):format(title, table.concat(quoted, ", "))
end

-- The names of everything the tree holds; what is shared stands under each of its names.
local function all_names(self, prefix, out)
  local record = getmetatable(self)
  for _, kind in ipairs({"parameter", "buffer"}) do
    for _, name in ipairs(record[kind]) do out[prefix .. name] = record.__index[name] ~= nil end
  end
  for _, name in ipairs(record.module) do
    local child = record.__index[name]
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

--- Copies the values into parameters and buffers. strict: missing and unexpected names are an error. Returns both as arrays.
function Module:load_state_dict(...)
  record_of(self, "load_state_dict")
  local given, strict = parse_load(...)
  local state_dict = plain_copy(given)
  local report = {missing = {}, unexpected = {}, errors = {}}
  load_tree(self, state_dict, ordered.metadata(state_dict), "", strict, report)
  find_unexpected(self, state_dict, report.unexpected)
  if strict then
    if #report.unexpected > 0 then table.insert(report.errors, 1, names_line("Unexpected", report.unexpected)) end
    if #report.missing > 0 then table.insert(report.errors, 1, names_line("Missing", report.missing)) end
  end
  if #report.errors > 0 then
    fail(("Error(s) in loading state_dict for %s:\n\t%s"):format(self.class.__name, table.concat(report.errors, "\n\t")))
  end
  return report.missing, report.unexpected
end

return Module
