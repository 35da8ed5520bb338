--- Gradients against finite differences: lt.autograd.gradcheck and lt.autograd.gradgradcheck.

local base = require("lunette.ffi")
local ops = require("lunette.ops")
local autograd = require("lunette.autograd")
local arguments = require("lunette.arguments")

local C, ffi, is_tensor, pointer, fail = base.C, base.ffi, base.is_tensor, base.pointer, base.fail
local abs, tonumber, select, unpack, ipairs = math.abs, tonumber, select, unpack, ipairs

local function read(t)
  local p = pointer(t)
  local n = tonumber(p.numel)
  local values = ffi.new("double[?]", n + 1)
  base.check(C.ln_tensor_read(p, values, nil))
  return values, n
end

local function write(t, values)
  base.check(C.ln_tensor_write(pointer(t), values, nil))
end

local function is_float(t) return pointer(t).dtype <= 3 end

--- The outputs of fn that can have a gradient.
local function outputs_of(fn, inputs)
  local function pack(...)
    local list = {}
    for i = 1, select("#", ...) do
      local y = select(i, ...)
      if is_tensor(y) and is_float(y) then list[#list + 1] = y end
    end
    return list
  end
  return pack(fn(unpack(inputs, 1, inputs.n or #inputs)))
end

local function wanted(inputs)
  local list = {}
  for i = 1, inputs.n or #inputs do
    local x = inputs[i]
    if is_tensor(x) and x.requires_grad then
      if x.dtype ~= "float64" then fail(("gradcheck: input %d is %s; finite differences need float64"):format(i, x.dtype)) end
      list[#list + 1] = {tensor = x, place = i}
    end
  end
  if #list == 0 then fail("gradcheck: no input requires a gradient") end
  return list
end

--- d outputs[k] / d x as [element of x][k][element of output], by central differences.
local function numeric(fn, inputs, x, eps)
  local values, n = read(x)
  local columns = {}
  local function sample(i, value)
    local before = values[i]
    values[i] = value
    autograd.no_grad(write, x, values)
    values[i] = before
    local results = {}
    for k, y in ipairs(autograd.no_grad(outputs_of, fn, inputs)) do results[k] = {read(y)} end
    return results
  end
  for i = 0, n - 1 do
    local high, low = sample(i, values[i] + eps), sample(i, values[i] - eps)
    local column = {}
    for k = 1, #high do
      local slopes = {}
      for j = 0, high[k][2] - 1 do slopes[j] = (high[k][1][j] - low[k][1][j]) / (2 * eps) end
      column[k] = slopes
    end
    columns[i] = column
  end
  autograd.no_grad(write, x, values)
  return columns, n
end

--- The same by backward: one pass for each element of each output.
local function analytic(fn, inputs, xs)
  local rows = {}
  for k, y in ipairs(outputs_of(fn, inputs)) do
    rows[k] = {}
    local _, n = read(y)
    for j = 0, n - 1 do
      local g = ops.fill(y:detach(), 0)
      local one = ffi.new("double[?]", n + 1)
      one[j] = 1
      write(g, one)
      local list = {}
      for i, x in ipairs(xs) do list[i] = x.tensor end
      local grads = y.requires_grad and autograd.grad({y}, list, {g}, {retain_graph = true, allow_unused = true}) or {}
      rows[k][j] = {}
      for i = 1, #xs do rows[k][j][i] = grads[i] and read(grads[i]) or false end
    end
  end
  return rows
end

local function compare(report, x, i, rows, columns, n, atol, rtol)
  for k, row in ipairs(rows) do
    for j = 0, #row do
      for e = 0, n - 1 do
        local a = row[j] and row[j][i] and row[j][i][e] or 0
        local b = columns[e][k][j]
        local close = abs(a - b) <= atol + rtol * abs(b) -- false for NaN
        if row[j] and not close then
          report(("gradcheck: output %d[%d] by input %d[%d]: backward gives %.9g, finite differences %.9g"):format(k, j, x.place, e, a, b))
          return false
        end
      end
    end
  end
  return true
end

local parse = arguments.signature("gradcheck", "fn:function, inputs:tensor|table, eps:number=1e-6, atol:number=1e-5, rtol:number=1e-3, raise_exception:bool=true")

local gradcheck = {}

--- Compares the gradients of fn(unpack(inputs)) with central differences, for every input that requires a gradient (float64).
-- @return true; on a difference raises one that names element, output and both values, or returns false with raise_exception = false
function gradcheck.gradcheck(...)
  local fn, inputs, eps, atol, rtol, raise_exception = parse(...)
  if is_tensor(inputs) then inputs = {inputs} end
  local xs = wanted(inputs)
  local message
  local function report(text) message = text end
  local rows = analytic(fn, inputs, xs)
  if #rows == 0 then fail("gradcheck: fn returned no tensor of floating dtype") end
  for i, x in ipairs(xs) do
    local columns, n = numeric(fn, inputs, x.tensor, eps)
    if n > 0 and not compare(report, x, i, rows, columns, n, atol, rtol) then
      if raise_exception then fail(message) end
      return false
    end
  end
  return true
end

--- Checks the gradient of the gradient: gradcheck of the function that gives the gradients of fn, weighted by random numbers.
function gradcheck.gradgradcheck(...)
  local fn, inputs, eps, atol, rtol, raise_exception = parse(...)
  if is_tensor(inputs) then inputs = {inputs} end
  local xs = wanted(inputs)
  local weights = {}
  for k, y in ipairs(outputs_of(fn, inputs)) do weights[k] = ops.uniform(y:detach(), 0.5, 1.5):requires_grad_() end
  local all = {n = (inputs.n or #inputs) + #weights}
  for i = 1, inputs.n or #inputs do all[i] = inputs[i] end
  for k, w in ipairs(weights) do all[all.n - #weights + k] = w end
  local function gradients(...)
    local outputs = outputs_of(fn, {n = select("#", ...) - #weights, ...})
    local list, given, roots = {}, {}, {}
    for i, x in ipairs(xs) do list[i] = x.tensor end
    for k, y in ipairs(outputs) do
      if y.requires_grad then
        roots[#roots + 1] = y
        given[#given + 1] = weights[k]
      end
    end
    local grads = autograd.grad(roots, list, given, {create_graph = true, allow_unused = true})
    local results = {}
    for i = 1, #list do results[#results + 1] = grads[i] end
    return unpack(results)
  end
  local function recorded(...) return autograd.enable_grad(gradients, ...) end -- finite differences are taken where nothing else is recorded
  return gradcheck.gradcheck(recorded, all, eps, atol, rtol, raise_exception)
end

return gradcheck
