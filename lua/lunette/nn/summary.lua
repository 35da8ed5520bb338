--- nn.Module:summary: what each module of a model gives, holds and computes for an example.

local class = require("lunette.class")
local define = require("lunette.define")
local internals = require("lunette.nn.internals")
local trace = require("lunette.nn.trace")

local Module = internals.Module
local ipairs, max, setmetatable, tostring = ipairs, math.max, setmetatable, tostring

local summary = {}

-- Multiplications --------------------------------------------------------------------------------------------------------------------------

local function numel(value)
  local n = 0
  for _, t in ipairs(trace.tensors(value)) do n = n + t:numel() end
  return n
end

local function kernel(m) return m.kernel_size:numel() end

local function convolution(m, _, output) return numel(output) * m.in_channels / m.groups * kernel(m) end
local function transposed(m, input) return numel(input[1]) * m.out_channels / m.groups * kernel(m) end

-- Each weight of a recurrent layer multiplies one vector for each step of each sequence.
local function recurrent(m, input)
  local weights = 0
  for p in m:parameters(false) do
    if #p.shape == 2 then weights = weights + p:numel() end
  end
  return numel(input[1]) / m.input_size * weights
end

-- The projections of query, key, value and output, and the two products of each head.
local function attention(m, input)
  local query, key, value = input[1], input[2], input[3]
  local rows, keys, e = query:numel() / m.embed_dim, key:numel() / m.kdim, m.embed_dim
  local batch = #query.shape == 3 and query.shape[m.batch_first and 0 or 1] or 1
  return 2 * rows * e * e + keys * e * m.kdim + value:numel() / m.vdim * e * m.vdim + (batch > 0 and 2 * rows * keys / batch * e or 0)
end

local counters = {
  Linear = function(m, _, output) return numel(output) * m.in_features end,
  Bilinear = function(m, _, output) return numel(output) * (m.in1_features + 1) * m.in2_features end,
  Conv1d = convolution, Conv2d = convolution, Conv3d = convolution, ConvTranspose1d = transposed, ConvTranspose2d = transposed, ConvTranspose3d = transposed,
  RNNBase = recurrent, RNNCell = recurrent, LSTMCell = recurrent, GRUCell = recurrent, MultiheadAttention = attention,
}

-- The counter of a class: its own or that of a class above it.
local function counter_of(owner)
  local nn = require("lunette.nn")
  while owner do
    local count = counters[owner.__name]
    if count and nn[owner.__name] == owner then return count end
    owner = class.parent_of(owner)
  end
end

--- How many multiplications a call of a layer takes: those in matrix products and convolutions, the others are few.
function summary.macs(m, input, output)
  local count = counter_of(m.class)
  return count and count(m, input, output) or 0
end

-- The table --------------------------------------------------------------------------------------------------------------------------------

local function bytes(value)
  local n = 0
  for _, t in ipairs(trace.tensors(value)) do n = n + t:numel() * t:element_size() end
  return n
end

local function shapes(value)
  local out = {}
  for i, t in ipairs(trace.tensors(value)) do out[i] = tostring(t.shape) end
  return table.concat(out, ", ")
end

local function row_of(path, m)
  local depth, own = 0, 0
  for _ in path:gmatch("[^.]+") do depth = depth + 1 end
  for p in m:parameters(false) do own = own + p:numel() end
  return {path = path, name = m:_get_name(), depth = depth, parameters = own, calls = 0, macs = 0, bytes = 0}
end

-- Notes what a module is called with; what those below it compute is part of its own.
local function watched(m, row)
  return {m, after = function(_, input, output)
    row.calls, row.shape = row.calls + 1, shapes(output)
    row.macs, row.bytes = row.macs + summary.macs(m, input, output), row.bytes + bytes(output)
  end}
end

-- Did a module below that of row i run? Then the outputs are counted there.
local function has_inner(rows, i)
  local k = i + 1
  while rows[k] and rows[k].depth > rows[i].depth do
    if rows[k].calls > 0 then return true end
    k = k + 1
  end
  return false
end

local function add_totals(result, model, values)
  for p in model:parameters() do
    result.parameters = result.parameters + p:numel()
    if p.requires_grad then result.trainable = result.trainable + p:numel() end
    result.parameter_bytes = result.parameter_bytes + p:numel() * p:element_size()
  end
  for b in model:buffers() do result.buffer_bytes = result.buffer_bytes + b:numel() * b:element_size() end
  for i, row in ipairs(result.rows) do
    result.macs = result.macs + row.macs
    if not has_inner(result.rows, i) then result.output_bytes = result.output_bytes + row.bytes end
  end
  result.input_bytes = bytes(values)
end

-- 1234567 as 1,234,567
local function grouped(n)
  local text = ("%d"):format(n):reverse():gsub("(%d%d%d)", "%1,"):reverse()
  return (text:gsub("^,", ""))
end

local UNITS = {"B", "KiB", "MiB", "GiB", "TiB"}

local function sized(n)
  local unit = 1
  while n >= 1024 and unit < #UNITS do n, unit = n / 1024, unit + 1 end
  return (unit == 1 and "%d %s" or "%.1f %s"):format(n, UNITS[unit])
end
summary.grouped, summary.sized = grouped, sized

--- Lines of columns, arrays of texts, the first and the second to the left, the others to the right.
function summary.aligned(lines)
  local widths, out = {}, {}
  for _, line in ipairs(lines) do
    for i, text in ipairs(line) do widths[i] = max(widths[i] or 0, #text) end
  end
  for k, line in ipairs(lines) do
    local cells = {}
    for i, text in ipairs(line) do
      local space = (" "):rep(widths[i] - #text)
      cells[i] = i <= 2 and text .. space or space .. text
    end
    out[k] = table.concat(cells, "  "):gsub("%s+$", "")
  end
  return table.concat(out, "\n")
end

local function text_of(self)
  local lines = {{"module", "output", "parameters", "MACs", "memory"}}
  for _, row in ipairs(self.rows) do
    local title = ("  "):rep(row.depth) .. (row.depth == 0 and "" or row.path:match("[^.]+$") .. " ") .. row.name
    local called = row.calls > 0
    lines[#lines + 1] = {
      title, called and row.shape .. (row.calls > 1 and (" x %d"):format(row.calls) or "") or "not called", row.parameters > 0 and grouped(row.parameters) or "-",
      row.macs > 0 and grouped(row.macs) or "-", called and sized(row.bytes) or "-",
    }
  end
  return ("%s\n%s parameters (%s trainable), %s MACs; memory: %s parameters, %s buffers, %s outputs, %s input"):format(summary.aligned(lines),
    grouped(self.parameters), grouped(self.trainable), grouped(self.macs), sized(self.parameter_bytes), sized(self.buffer_bytes), sized(self.output_bytes),
    sized(self.input_bytes))
end

local meta = {__tostring = text_of}

--- The table for a model and the values that it is called with.
function summary.of(model, values)
  local result = setmetatable({
    rows = {}, parameters = 0, trainable = 0, macs = 0, parameter_bytes = 0, buffer_bytes = 0, output_bytes = 0, input_bytes = 0,
  }, meta)
  local watch = {}
  for path, m in model:named_modules() do
    local row = row_of(path, m)
    result.rows[#result.rows + 1], watch[#watch + 1] = row, watched(m, row)
  end
  trace.run(model, values, watch)
  add_totals(result, model, values)
  return result
end

define.methods(Module, "nn.Module")("summary", {
  doc = "Calls the module with an example (a tensor, or an array of all arguments) in evaluation and without gradients, and returns a table that prints: for each module, "
    .. "the shapes it gives, its own parameters, the multiplications of its matrix products and convolutions (MACs) and the bytes of its outputs. Fields: rows (arrays of "
    .. "path, name, depth, shape, parameters, macs, bytes, calls), parameters, trainable, macs, parameter_bytes, buffer_bytes, output_bytes, input_bytes.",
  takes = "example:any",
  call = function(self, example) return summary.of(self, trace.values("summary", example)) end,
  example = "> net = nn.Sequential(nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 10))\n> net:summary(lt.zeros(1, 784))\n"
    .. "module      output    parameters    MACs  memory\nSequential  {1, 10}            -       -    40 B\n"
    .. "  0 Linear  {1, 100}      78,500  78,400   400 B\n  1 ReLU    {1, 100}           -       -   400 B\n  2 Linear  {1, 10}        1,010   1,000    40 B\n"
    .. "79,510 parameters (79,510 trainable), 79,400 MACs; memory: 310.6 KiB parameters, 0 B buffers, 840 B outputs, 3.1 KiB input",
})

return summary
