--- nn.DataParallel: a module on several devices of one process, each with a part of the batch.
--
-- The devices get copies of the parameters that are recorded, so gradients come together in the parameters themselves. Buffers of the first device are the
-- module's own; what the others do to theirs is lost, as in PyTorch. Launches do not wait for each other, so the devices compute side by side.

local each = require("lunette.each")
local arguments = require("lunette.arguments")
local base = require("lunette.ffi")
local class = require("lunette.class")
local cuda = require("lunette.cuda")
local define = require("lunette.define")
local internals = require("lunette.nn.internals")
local kinds = require("lunette.kinds")
local scatter = require("lunette.nn.parallel.scatter")
local swapped = require("lunette.nn.swapped")

local fail = arguments.fail
local ipairs, rawget, select, unpack = ipairs, rawget, select, unpack

local parallel = {}
local declare = define.into(parallel, "nn.parallel")

-- Each device's copies of the tensors by name, one of a shared tensor; the first device works on the module's own.
local function tensors_on(places, device, is_first)
  local tensors, copies = {}, {}
  if is_first then return tensors end
  for name, place in each(places) do
    local own = rawget(place[1], place[2])
    copies[own.id] = copies[own.id] or own:to(device)
    tensors[name] = copies[own.id]
  end
  return tensors
end

local function check_place(owner, module, device)
  for _, list in ipairs{module:parameters(), module:buffers()} do
    for i = 1, #list do
      if list[i].device ~= device then
        fail(("%s: the module must have its parameters and buffers on %s (device_ids[0]), one of them is on %s"):format(owner, device, list[i].device))
      end
    end
  end
end

local function pack(...) return {n = select("#", ...), ...} end

-- The module on each device with its part of the values, and the results together on one device.
local function run(owner, module, devices, output_device, dim, values)
  check_place(owner, module, devices[1])
  local parts = scatter.public.scatter({values = values}, devices, {dim = dim})
  if #parts == 1 then
    local own = parts[1].values
    return module(unpack(own, 1, values.n))
  end
  local places, results = swapped.places_of(module), {}
  for i, part in ipairs(parts) do
    results[i] = pack(swapped.call(module, places, tensors_on(places, devices[i], i == 1), nil, unpack(part.values, 1, values.n)))
  end
  return scatter.gather_values(results, output_device, dim)
end

local function all_devices()
  local out = {}
  for i = 1, cuda.device_count() do out[i] = i - 1 end
  return out
end

-- Devices and the one of the output; no devices where there are none.
local function chosen(owner, device_ids, output_device)
  local devices = scatter.devices(owner, device_ids or cuda.is_available() and all_devices() or {})
  local output = output_device ~= nil and base.device_name(kinds.devices[output_device]) or devices[1]
  return devices, output
end

-- The layer --------------------------------------------------------------------------------------------------------------------------------

local DataParallel = class.define("nn.DataParallel", {
  parent = internals.Module,
  doc = "Calls `module` on several CUDA devices, each with a part of the tensors' rows along dim, and puts the results together on output_device (the first of "
    .. "device_ids unless named). device_ids: numbers from 0 or names; all devices when left out. Without a device the module is called as it is. The module must be on "
    .. "the first device.",
  takes = "module:module, device_ids:map?, output_device:device?, dim:int=0",
})
parallel.DataParallel = DataParallel

function DataParallel:__init(...)
  local module, device_ids, output_device, dim = DataParallel.__parse(...)
  self.device_ids, self.output_device = chosen("DataParallel", device_ids, output_device)
  self.dim, self.module = dim, module
  if #self.device_ids == 1 then module:to(self.device_ids[1]) end
end

function DataParallel:forward(...)
  if #self.device_ids == 0 then return self.module(...) end
  return run("DataParallel", self.module, self.device_ids, self.output_device, self.dim, pack(...))
end

declare("data_parallel", {
  doc = "Calls a module on several devices as nn.DataParallel does. inputs: one input or an array of them; module_kwargs: arguments by name.",
  takes = "module:module, inputs:any, device_ids:map?, output_device:device?, dim:int=0, module_kwargs:map?",
  several = true,
  call = function(module, inputs, device_ids, output_device, dim, module_kwargs)
    local devices, output = chosen("data_parallel", device_ids, output_device)
    local values = arguments.form_of(inputs) == "array" and pack(unpack(inputs)) or pack(inputs)
    if module_kwargs then
      values.n = values.n + 1
      values[values.n] = module_kwargs
    end
    if #devices == 0 then return module(unpack(values, 1, values.n)) end
    return run("data_parallel", module, devices, output, dim, values)
  end,
})

return parallel
