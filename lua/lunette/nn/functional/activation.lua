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
  for _, name in ipairs({"sigmoid", "logsigmoid", "softplus", "tanh", "gelu"}) do define_function(name) end

  -- takes: what differs from the row of the operator; check: refuses attributes that do not fit together.
  local function with_inplace(name, takes, check)
    local row = define.row(name)
    local plain, within = choice(name, #derive.params(row) - 1)
    takes = takes or row
    define_function(name, {takes = takes .. ", inplace:bool=false", call = behind(check, plain)})
    define_function(name .. "_", {row = name, takes = takes, doc = ops.info[name].doc .. " In place.", call = behind(check, within)})
  end

  for _, name in ipairs({"relu", "relu6", "leaky_relu", "elu", "silu"}) do with_inplace(name) end
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
end
