--- Activations as functions.

local arguments = require("lunette.arguments")
local define = require("lunette.define")
local derive = require("lunette.derive")
local ops = require("lunette.ops")

-- The function of `n` attributes that works in place when its last argument says so, and the one that always does. Operators are looked up when
-- they are called, since a wrapper is written when it is first named.
local function choice(name, n)
  local given = ({"input", "input, a", "input, a, b"})[n + 1]
  local text = ("local ops = ... return function(GIVEN, inplace) if inplace then return (ops.NAME_(GIVEN)) end return (ops.NAME(GIVEN)) end, "
    .. "function(GIVEN) return (ops.NAME_(GIVEN)) end"):gsub("GIVEN", given):gsub("NAME", name)
  return assert(loadstring(text, "=lunette.functional"))(ops)
end

-- `fn` behind a check of attributes that must fit together.
local function behind(check, fn)
  if not check then return fn end
  return function(...)
    check(...)
    return (fn(...))
  end
end

return function(_, define_function)
  for _, name in ipairs({"sigmoid", "logsigmoid", "softplus", "tanh", "hardshrink", "softsign", "tanhshrink", "prelu", "glu"}) do define_function(name) end

  define_function("softshrink", {takes = "input, lambd>=0", call = function(input, lambd) return (ops.softshrink(input, lambd)) end})

  define_function("gelu", {takes = "input, approximate:enum(none|tanh)=none", call = function(input, approximate)
    if approximate == "tanh" then return (ops.gelu_tanh(input)) end
    return (ops.gelu(input))
  end})

  -- takes: what differs from the row of the operator; check: refuses attributes that do not fit together.
  local function with_inplace(name, takes, check)
    local row = define.row(name)
    local plain, within = choice(name, #derive.params(row) - 1)
    takes = takes or row
    define_function(name, {takes = takes .. ", inplace:bool=false", call = behind(check, plain)})
    define_function(name .. "_", {row = name, takes = takes, doc = ops.info[name].doc .. " In place.", call = behind(check, within)})
  end

  for _, name in ipairs({"relu", "relu6", "leaky_relu", "elu", "selu", "silu", "mish", "hardsigmoid", "hardswish"}) do with_inplace(name) end
  with_inplace("celu", nil, function(_, alpha)
    if alpha == 0 then arguments.fail("celu: alpha must not be 0") end
  end)
  with_inplace("threshold", "input, threshold!, value!")
  with_inplace("hardtanh", nil, function(_, min_val, max_val)
    if min_val > max_val then
      arguments.fail(("hardtanh: min_val %s must not be above max_val %s"):format(tostring(min_val), tostring(max_val)))
    end
  end)

  local warned = {}

  -- The dimension that an absent `dim` means.
  local function implicit_dim(name, input)
    if not warned[name] then
      warned[name] = true
      io.stderr:write(("warning: %s without dim picks a dimension by the number of dimensions; write dim = ...\n"):format(name))
    end
    local n = input._p.ndim
    return (n == 0 or n == 1 or n == 3) and 0 or 1
  end

  for _, name in ipairs({"softmax", "log_softmax"}) do
    define_function(name, {takes = "input, dim?, dtype", call = function(input, dim, dtype)
      return (ops[name](input, dim or implicit_dim(name, input), dtype))
    end})
  end
  define_function("softmin", {row = "softmax", takes = "input, dim?, dtype", doc = "The softmax of -input.", call = function(input, dim, dtype)
    return (ops.softmax(-input, dim or implicit_dim("softmin", input), dtype))
  end})

  local function rrelu(input, lower, upper, training, inplace)
    if lower > upper then
      arguments.fail(("rrelu: lower %s must not be above upper %s"):format(tostring(lower), tostring(upper)))
    end
    if not inplace then return (ops.rrelu(input, lower, upper, training)) end
    if not training then return (ops.leaky_relu_(input, (lower + upper) / 2)) end
    local values = input:detach()
    return (input:mul_(ops.where(values:le(0), ops.uniform(values, lower, upper), 1)))
  end
  define_function("rrelu", {takes = "input, lower, upper, training, inplace:bool=false", call = rrelu})
  define_function("rrelu_", {row = "rrelu", doc = ops.info.rrelu.doc .. " In place.", takes = "input, lower, upper, training",
    call = function(input, lower, upper, training) return rrelu(input, lower, upper, training, true) end})

  -- Numbers E with the density exp(-E): the logarithm of a uniform number that is never 0.
  local function exponential_like(t) return -(ops.uniform(t:detach(), 2 ^ -24, 1):log()) end

  define_function("gumbel_softmax", {
    doc = "A sample of the Gumbel-Softmax distribution (Jang et al., 2016): nearly one-hot; with `hard` one-hot, with the gradient of the soft one.",
    takes = "logits:tensor, tau:number=1, hard:bool=false, eps:number?, dim:int=-1",
    call = function(logits, tau, hard, eps, dim)
      if eps ~= nil then arguments.fail("gumbel_softmax: eps has no effect any more; leave it out, dim goes by name") end
      local soft = ops.softmax((logits - exponential_like(logits):log()) / tau, dim)
      if not hard then return soft end
      local _, index = soft:detach():max(dim, true)
      local one_hot = ops.full({logits.shape:unpack()}, 0, soft.dtype, soft.device):scatter_(dim, index, 1)
      return one_hot - soft:detach() + soft
    end,
  })
end
