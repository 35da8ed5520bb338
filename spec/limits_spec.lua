--- Derivatives of order 1, 2 and 3 at zeros, kinks, far out, at the infinities and NaN: every elementwise row of one operand, against PyTorch.

local lt = require("lunette")
local ops = require("lunette.ops")

local here = debug.getinfo(1, "S").source:match("^@(.*)limits_spec%.lua$")
local limits = dofile(here .. "fixtures/limits.lua")

local ORDERS = 3
local OPTIONS = {dtype = "float64"}

local FLAT = {[math.huge] = 0, [-math.huge] = 0}

--- What else is right. PyTorch multiplies a normal density of 0 by infinity and gives NaN, divides infinity by infinity, and overflows in exp; the limits
-- are finite. Its sixth in hardsigmoid's derivative is a float32. Where tanh is flat, 1 - tanh^2 is rounded.
-- Its trigamma has ten digits and is finite near the poles, its polygamma NaN at infinity and a pole at minus infinity; its Bessel functions are NaN at
-- infinity, and the third derivative of i1 at 0 is right nowhere.
local function ten_digits(_, got, want) return math.abs(got - want) < 1e-9 * math.abs(want) or got == math.huge and want > 1e25 end
local function ends(point, got) return point == math.huge and got == 0 or point == -math.huge and got ~= got end

local accepted = {
  i0 = {[0] = {[math.huge] = math.huge, [-math.huge] = math.huge}, {[math.huge] = math.huge, [-math.huge] = -math.huge}},
  i1 = {[0] = {[math.huge] = math.huge, [-math.huge] = -math.huge}, [3] = {[0] = 0.5}},
  sinc = {[2] = {[0] = 0}, [3] = {[0] = 0}},
  lgamma = {[2] = ten_digits, [3] = ends},
  digamma = {ten_digits, ends, ends},
  polygamma_of = {ten_digits, ends, ends},
  gelu = {[1] = {[math.huge] = 1, [-math.huge] = 0}, [2] = FLAT},
  softsign = {FLAT, FLAT, FLAT},
  hardsigmoid = {{[0] = 1 / 6, [1] = 1 / 6, [-1] = 1 / 6}},
  mish = {[2] = {[800] = 0}, [3] = {[800] = 0}},
  gelu_tanh = {[3] = function(point, got, want) return point == 6 and math.abs(got - want) < 1e-12 or math.abs(point) == 800 and got == 0 end},
}

--- Rows whose defaults do nothing are also checked with attributes: name in limits.lua -> the call.
local calls = {
  clamp = function(x) return ops.clamp(x, -1, 1) end,
  clamp_min = function(x) return ops.clamp(x, 0) end,
  clamp_max = function(x) return ops.clamp(x, nil, 0) end,
}
for _, info in ipairs(ops.list) do
  if info.kind == 0 and info.forward and info.derivative[0] and not calls[info.name] then calls[info.name] = ops[info.name] end
end

--- Beside a relative error, a few units in the last place of 1: 1 - y * y at the flat end of tanh has no more.
local function same(got, want) return got == want or got ~= got and want ~= want or math.abs(got - want) <= 1e-12 * math.abs(want) + 2e-15 end

local function accepts(name, order, point, got, want)
  local list = accepted[name] and accepted[name][order]
  if type(list) == "function" then return list(point, got, want) end
  return list ~= nil and list[point] == got
end

--- The next derivative; 0 where nothing depends on x any more.
local function differentiate(y, x)
  local dx = y.requires_grad and lt.autograd.grad(y:sum(), x, {create_graph = true, allow_unused = true})[1]
  return dx or lt.zeros(x.shape, OPTIONS)
end

--- Every pair of points, as two tensors.
local function pairs_of_points()
  local a, b = {}, {}
  for _, x in ipairs(limits.points) do
    for _, y in ipairs(limits.points) do a[#a + 1], b[#b + 1] = x, y end
  end
  return lt.tensor(a, OPTIONS), lt.tensor(b, OPTIONS)
end

local function numbers(text)
  local list = {}
  for word in text:gmatch("%S+") do list[#list + 1] = word == "nan" and 0 / 0 or tonumber((word:gsub("inf", "1e999"))) end
  return list
end

--- Where the first derivative is 0 by definition, at the origin of atan2 and for powers of 0, PyTorch's higher ones are NaN and Lunette's 0.
local zero_beyond_first = {atan2 = function(a, b) return a == 0 and b == 0 end, pow = function(a, b) return a == 0 and b >= 0 end}

describe("three derivatives in each operand at the limits", function()
  for name, wanted in pairs(limits.pairs) do
    for which = 1, 2 do
      it(("of %s in operand %d"):format(name, which - 1), function()
        local a, b = pairs_of_points()
        local x = (which == 1 and a or b):requires_grad_()
        local first, second, y = a:detach():tolist(), b:detach():tolist(), ops[name](a, b)
        for order = 1, ORDERS do
          y = differentiate(y, x)
          local want = numbers(wanted[which][order])
          for i, got in ipairs(y:detach():tolist()) do
            local excepted = order > 1 and got == 0 and want[i] ~= want[i] and zero_beyond_first[name]
            if not same(got, want[i]) and not (excepted and excepted(first[i], second[i])) then
              assert.is_true(false, ("order %d at (%g, %g): %g, PyTorch %g"):format(order, first[i], second[i], got, want[i]))
            end
          end
        end
      end)
    end
  end
end)

describe("the value and three derivatives at their limits", function()
  for name, fn in pairs(calls) do
    it("of " .. name, function()
      local want = assert(limits[name], "spec/fixtures/limits.py has no " .. name)
      local x = lt.tensor(limits.points, OPTIONS):requires_grad_()
      local y = fn(x)
      for order = 0, ORDERS do
        for i, got in ipairs(y:detach():tolist()) do
          local point, expected = limits.points[i], want[order + 1][i]
          if not same(got, expected) and not accepts(name, order, point, got, expected) then
            assert.is_true(false, ("order %d at %g: %g, PyTorch %g"):format(order, point, got, expected))
          end
        end
        if order < ORDERS then y = differentiate(y, x) end
      end
    end)
  end

  it("of a quotient do not overflow on the way", function()
    local a, b = lt.tensor({1e25}, {requires_grad = true}), lt.tensor({1e25}, {requires_grad = true});
    (a / b):backward()
    assert.is_true(math.abs(b.grad:item() / -1e-25 - 1) < 1e-6)
    b.grad = nil
    lt.addcdiv(lt.zeros(1), a, b, 1):backward()
    assert.is_true(math.abs(b.grad:item() / -1e-25 - 1) < 1e-6)
  end)
end)
