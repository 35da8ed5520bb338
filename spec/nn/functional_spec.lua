--- Functions of F beyond what the layers show.

local lt = require("lunette")
local F = lt.nn.functional

describe("F.softmax and F.log_softmax", function()
  it("compute in the dtype that is named", function()
    local x = lt.tensor{1, 2, 3}
    for _, name in ipairs{"softmax", "log_softmax"} do
      assert.are.equal("float64", F[name](x, 0, "float64").dtype)
      assert.are.equal("float64", F[name](x, {dim = 0, dtype = "float64"}).dtype)
      assert.are.equal("float32", F[name](x, 0).dtype)
    end
  end)
end)

describe("F.hardtanh", function()
  it("refuses bounds in the wrong order, in place too, and takes equal ones", function()
    local x = lt.tensor{-2, 0.25, 2}
    for _, name in ipairs{"hardtanh", "hardtanh_"} do
      assert.has_error(function() F[name](x, 0.5, -0.5) end, "hardtanh: min_val 0.5 must not be above max_val -0.5")
    end
    assert.are.same({0.5, 0.5, 0.5}, F.hardtanh(x, 0.5, 0.5):tolist())
  end)
end)

describe("F.pad", function()
  -- size, before, after, and what torch.nn.functional.pad makes of 0 ... size - 1
  local circular = {
    {4, -1, 1, {1, 2, 3, 1}}, {4, -1, 3, {1, 2, 3, 1, 2, 3}}, {4, 1, -2, {1, 0, 1}}, {4, 2, -1, {1, 2, 0, 1, 2}}, {4, -2, 2, {2, 3, 2, 3}},
    {2, 2, -1, nil}, {4, 1, 1, {3, 0, 1, 2, 3, 0}}, {4, -1, 4, nil},
  }

  it("crops first in circular mode", function()
    for _, case in ipairs(circular) do
      local ok, y = pcall(F.pad, lt.arange(case[1]):view(1, 1, case[1]), {case[2], case[3]}, "circular")
      assert.are.equal(case[4] ~= nil, ok)
      if ok then assert.are.same(case[4], y:reshape(-1):tolist()) end
    end
  end)

  it("reflects and repeats over the whole input, also where it crops", function()
    local x = lt.arange(4):view(1, 1, 4)
    assert.are.same({1, 2, 3, 2, 1, 0}, F.pad(x, {-1, 3}, "reflect"):reshape(-1):tolist())
    assert.are.same({2, 3, 3}, F.pad(x, {-2, 1}, "replicate"):reshape(-1):tolist())
    assert.are.same({1, 2, 3, 7}, F.pad(x, {-1, 1}, "constant", 7):reshape(-1):tolist())
  end)
end)

describe("losses of two tensors", function()
  it("refuse a target that fits only by broadcasting, unless that is allowed", function()
    for _, name in ipairs{"mse_loss", "l1_loss"} do
      assert.has_error(function() F[name](lt.ones(5, 1), lt.ones(5)) end,
        name .. ": input of shape {5, 1} and target of shape {5} differ; reshape one of them, or allow it with {broadcast = true}")
      assert.are.equal(0, F[name](lt.ones(5, 1), lt.ones(5), {broadcast = true}):item())
    end
  end)
end)
