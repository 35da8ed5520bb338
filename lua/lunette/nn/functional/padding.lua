--- Padding as a function.

local arguments = require("lunette.arguments")
local ops = require("lunette.ops")

-- The source index of padded position i, counted from the first real element, among n.
local sources = {
  replicate = function(i, n) return math.max(0, math.min(n - 1, i)) end,
  circular = function(i, n) return i % n end,
  reflect = function(i, n) return i < 0 and -i or i >= n and 2 * (n - 1) - i or i end,
}

local function check_pad(x, mode, d, before, after)
  local n = x.shape[d]
  local most = mode == "reflect" and n - 1 or mode == "circular" and n or math.huge
  if n + before + after < 0 or before > most or after > most or mode ~= "constant" and n == 0 then
    arguments.fail(("pad: %d and %d are out of range for dimension %d of shape %s, mode %s"):format(before, after, d, tostring(x.shape), mode))
  end
end

local function pad_with_value(x, d, before, after, value)
  local n, shape = x.shape[d], {x.shape:unpack()}
  local from, to = math.max(0, -before), n - math.max(0, -after)
  local parts = {}
  local function filled(count)
    if count <= 0 then return end
    shape[d + 1] = count
    parts[#parts + 1] = ops.full(shape, value, x.dtype, x.device)
  end
  filled(before)
  parts[#parts + 1] = x:narrow(d, from, to - from)
  filled(after)
  return #parts == 1 and parts[1] or ops.cat(parts, d)
end

local function pad_by_index(x, d, before, after, mode)
  local n, index = x.shape[d], {}
  for i = -before, n + after - 1 do index[#index + 1] = sources[mode](i, n) end
  local index_tensor = require("lunette.create").tensor(index, {dtype = "int64", device = x.device})
  return x:index_select(d, index_tensor)
end

-- Circular padding wraps what negative numbers have left; the other modes read the whole input.
local function crop(input, d, before, after)
  local n = input.shape[d]
  local from, to = math.max(0, -before), n - math.max(0, -after)
  if from == 0 and to == n or from > to then return input, before, after end
  return input:narrow(d, from, to - from), math.max(0, before), math.max(0, after)
end

return function(_, define)
  define("pad", {
    doc = "input with elements added at the ends of its last dimensions: pad holds pairs before, after, the last dimension first; negative ones crop.",
    takes = "input:tensor, pad:size, mode:enum(constant|reflect|replicate|circular)=constant, value:number=0",
    call = function(input, pad, mode, value)
      local pads = arguments.is_size(pad) and {pad:unpack()} or pad
      local n = #input.shape
      if #pads % 2 ~= 0 or #pads / 2 > n then
        arguments.fail(("pad: %d numbers do not pair with the dimensions of shape %s"):format(#pads, tostring(input.shape)))
      end
      for i = 1, #pads, 2 do
        local d, before, after = n - (i + 1) / 2, pads[i], pads[i + 1]
        if mode == "circular" then input, before, after = crop(input, d, before, after) end
        check_pad(input, mode, d, before, after)
        if before ~= 0 or after ~= 0 then
          input = mode == "constant" and pad_with_value(input, d, before, after, value) or pad_by_index(input, d, before, after, mode)
        end
      end
      return input
    end,
  })
end
