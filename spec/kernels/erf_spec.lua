--- erf of float32 and what is made of it, against float64: within a few units in the last place of 1, and exact where it ends.

local lt = require("lunette")
local F = lt.nn.functional

local function furthest(fn, x)
  local exact = fn(x:to("float64"))
  return (fn(x):to("float64") - exact):abs():max():item()
end

describe("erf in float32", function()
  it("is close to float64 everywhere, and relatively so at zero", function()
    assert.is_true(furthest(lt.erf, lt.linspace(-6, 6, 100003)) < 5e-7)
    local small = lt.linspace(-0.5, 0.5, 10008)
    local exact = small:to("float64"):erf()
    assert.is_true(((small:erf():to("float64") - exact) / exact):abs():max():item() < 5e-7)
    local tiny = lt.tensor{1e-30, -1e-37}
    assert.is_true(lt.allclose(tiny * (2 / math.sqrt(math.pi)), tiny:erf(), {rtol = 5e-7, atol = 0}))
  end)

  it("never leaves [-1, 1], is 1 from 4 on, odd, and keeps NaN and the sign of zero", function()
    local x = lt.linspace(0, 5, 50021)
    local y = x:erf()
    assert.is_true(y:le(1):all():item() and y:ge(0):all():item())
    assert.is_true(x:gt(4):logical_not():logical_or(y:eq(1)):all():item())
    assert.is_true(lt.equal(-y, (-x):erf()))
    local ends = lt.tensor{math.huge, -math.huge, 0 / 0, -0.0}:erf():tolist()
    assert.are.same({1, -1}, {ends[1], ends[2]})
    assert.is_true(ends[3] ~= ends[3] and 1 / ends[4] == -math.huge)
  end)

  it("makes gelu and its gradient as exact", function()
    local x = lt.linspace(-8, 8, 100003)
    assert.is_true(furthest(F.gelu, x) < 1.5e-6)
    assert.is_true(furthest(function(v)
      local leaf = v:clone():requires_grad_()
      F.gelu(leaf):sum():backward()
      return leaf.grad
    end, x) < 1e-6)
    assert.is_true(F.gelu(lt.linspace(-50, -6, 1000)):eq(0):all():item())
  end)
end)
