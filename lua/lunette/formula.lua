--- The third reading of the formulas in ops.def: as Lua, over tensors, when a derivative has to be differentiated again.
--
-- The functions are the closed list of kernels/formula.h. Given numbers alone they compute numbers, so that an attribute or a scalar operand
-- may stand anywhere; `where` on a plain condition picks a branch without looking at the other.

local base = require("lunette.ffi")
local ops = require("lunette.ops")

local math, type, setfenv, loadstring = math, type, setfenv, loadstring
local is_tensor = base.is_tensor

local function on_tensors(name, plain)
  return function(a, b)
    if is_tensor(a) or is_tensor(b) then return ops[name](a, b) end
    return plain(a, b)
  end
end

local function sigmoid(x) return 1 / (1 + math.exp(-x)) end
local function sign(x) return x > 0 and 1 or x < 0 and -1 or x == x and 0 or x end

local env = {
  K = function(n) return n end,
  INFINITY = math.huge,
  exp = on_tensors("exp", math.exp),
  expm1 = on_tensors("expm1", function(x) return math.abs(x) < 1e-5 and x + x * x / 2 or math.exp(x) - 1 end),
  log = on_tensors("log", math.log),
  log1p = on_tensors("log1p", function(x) return math.abs(x) < 1e-5 and x - x * x / 2 or math.log(1 + x) end),
  sin = on_tensors("sin", math.sin),
  cos = on_tensors("cos", math.cos),
  tan = on_tensors("tan", math.tan),
  atan = on_tensors("atan", math.atan),
  atan2 = on_tensors("atan2", math.atan2),
  tanh = on_tensors("tanh", math.tanh),
  erf = ops.erf,
  sqrt = on_tensors("sqrt", math.sqrt),
  pow = on_tensors("pow", function(a, b) return a ^ b end),
  abs = on_tensors("abs", math.abs),
  sign = on_tensors("sign", sign),
  floor = on_tensors("floor", math.floor),
  floordiv = on_tensors("floor_divide", function(a, b) return math.floor(a / b) end),
  sigmoid = on_tensors("sigmoid", sigmoid),
  maximum = on_tensors("maximum", math.max),
  minimum = on_tensors("minimum", math.min),
  gt = on_tensors("gt", function(a, b) return a > b end),
  ge = on_tensors("ge", function(a, b) return a >= b end),
  lt = on_tensors("lt", function(a, b) return a < b end),
  le = on_tensors("le", function(a, b) return a <= b end),
  eq = on_tensors("eq", function(a, b) return a == b end),
  ne = on_tensors("ne", function(a, b) return a ~= b end),
  both = on_tensors("logical_and", function(a, b) return a and b end),
  either = on_tensors("logical_or", function(a, b) return a or b end),
}

function env.where(condition, a, b)
  if type(condition) == "boolean" then
    if condition then return a end
    return b
  end
  return ops.where(condition, a, b)
end

function env.softplus(x) return ops.softplus(x) end

--- x times the normal density; the clamp keeps infinity times zero out.
function env.bell(x)
  local t = ops.clamp(x, -40, 40)
  return t * 0.3989422804014327 * ops.exp(t * t * -0.5)
end

local formula = {}
local cache = {}

--- The function of a formula's text: takes a table of its names (x or a, b, c; y; g; attributes), returns the value.
function formula.compile(text)
  local fn = cache[text]
  if fn then return fn end
  local chunk = assert(loadstring("return " .. text, "=" .. text))
  fn = function(names)
    setfenv(chunk, setmetatable(names, {__index = env}))
    return chunk()
  end
  cache[text] = fn
  return fn
end

return formula
