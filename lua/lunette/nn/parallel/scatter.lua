--- nn.parallel.scatter and gather: values cut along a dimension for several devices, and put together again.

local each = require("lunette.each")
local arguments = require("lunette.arguments")
local base = require("lunette.ffi")
local define = require("lunette.define")
local kinds = require("lunette.kinds")
local ops = require("lunette.ops")

local fail, is_tensor, describe = arguments.fail, arguments.is_tensor, arguments.describe
local type, getmetatable, ipairs, tostring, unpack = type, getmetatable, ipairs, tostring, unpack

local scatter = {public = {}}
local declare = define.into(scatter.public, "nn.parallel")

-- Devices --------------------------------------------------------------------------------------------------------------------------------

--- Devices named by numbers from 0 or as "cuda:1", as names; an error names what called for them.
function scatter.devices(owner, list)
  local out = {}
  for i, given in ipairs(list) do
    local id = kinds.devices[given]
    if id == nil or id < 0 then fail(("%s: device_ids holds numbers of CUDA devices or names such as \"cuda:0\", not %s"):format(owner, describe(given))) end
    out[i] = "cuda:" .. id
  end
  return out
end

-- Scattering -------------------------------------------------------------------------------------------------------------------------------

local function is_plain(value) return type(value) == "table" and getmetatable(value) == nil end

-- The parts of a tensor, each on its device: as many as chunk gives.
local function parts_of(t, devices, dim)
  if t:dim() == 0 then fail("scatter: a tensor without dimensions cannot be cut; give it as a number, or repeat it") end
  local parts = t:chunk(#devices, dim)
  for i = 1, #parts do parts[i] = parts[i]:to(devices[i]) end
  return parts
end

-- For each device the part of a value: of tensors in it the cut, of anything else the value itself.
local function spread(value, devices, dim)
  if is_tensor(value) then return parts_of(value, devices, dim) end
  local out = {}
  if not is_plain(value) then
    for i = 1, #devices do out[i] = value end
    return out
  end
  local count = #devices
  local columns = {}
  for key, entry in each(value) do
    columns[key] = spread(entry, devices, dim)
    if #columns[key] < count then count = #columns[key] end
  end
  for i = 1, count do
    out[i] = {}
    for key, column in each(columns) do out[i][key] = column[i] end
  end
  return out
end

declare("scatter", {
  doc = "Cuts tensors along dim, a part for each device, also inside of tables; anything else is given to each. Returns an array with what each device gets, shorter "
    .. "than target_gpus where a tensor has too few rows.",
  takes = "inputs:any, target_gpus:map, dim:int=0",
  call = function(inputs, target_gpus, dim) return spread(inputs, scatter.devices("scatter", target_gpus), dim) end,
})

-- Gathering --------------------------------------------------------------------------------------------------------------------------------

local join

local function join_tensors(outputs, device, dim)
  local parts = {}
  for i, t in ipairs(outputs) do
    if not is_tensor(t) then fail(("gather: output %d is %s where the first is a tensor"):format(i - 1, describe(t))) end
    parts[i] = (t:dim() == 0 and t:unsqueeze(0) or t):to(device)
  end
  return ops.cat(parts, dim)
end

local function join_tables(outputs, device, dim)
  local out = {}
  for key in each(outputs[1]) do
    local column = {}
    for i, entry in ipairs(outputs) do
      if not is_plain(entry) or entry[key] == nil then fail(("gather: output %d has no entry %s, which the first has"):format(i - 1, tostring(key))) end
      column[i] = entry[key]
    end
    out[key] = join(column, device, dim)
  end
  return out
end

function join(outputs, device, dim)
  local first = outputs[1]
  if is_tensor(first) then return join_tensors(outputs, device, dim) end
  if is_plain(first) then return join_tables(outputs, device, dim) end
  return first
end

declare("gather", {
  doc = "Puts the outputs of several devices together along dim on one device, also inside of tables; of numbers (tensors without dimensions) a vector. What is no "
    .. "tensor is that of the first.",
  takes = "outputs:map, target_device:device, dim:int=0",
  call = function(outputs, device, dim)
    if #outputs == 0 then fail("gather: there is no output") end
    return join(outputs, base.device_name(kinds.devices[device]), dim)
  end,
})

--- The values that calls on several devices return, each {n =, ...}, put together value by value.
function scatter.gather_values(results, device, dim)
  local out, n = {}, results[1].n
  for k = 1, n do
    local column = {}
    for i, values in ipairs(results) do column[i] = values[k] end
    if column[1] ~= nil then out[k] = join(column, device, dim) end
  end
  return unpack(out, 1, n)
end

return scatter
