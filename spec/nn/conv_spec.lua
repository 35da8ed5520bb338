local lt = require("lunette")
local helper = require("spec.nn.helper")
local nn = lt.nn

-- kernel_size = 3 and {2, 3}, each with these options: the order of conv_cases in nn.py.
local options = {
  {}, {padding = 1}, {padding = "same"}, {padding = "same", dilation = 2}, {padding = {1, 2}, padding_mode = "circular"},
  {padding = 1, padding_mode = "reflect"}, {padding = 2, padding_mode = "replicate"}, {stride = {2, 1}, groups = 2, bias = false},
}

describe("Conv2d", function()
  for i, case in ipairs(helper.fixtures.conv) do
    it("agrees with PyTorch: " .. case.text, function()
      local chosen = options[(i - 1) % #options + 1]
      local m = helper.fill(nn.Conv2d(4, 2, case.kernel, next(chosen) and chosen or nil))
      assert.are.equal(case.text, tostring(m))
      local x = helper.wave({2, 4, 6, 5}, 0.1):requires_grad_()
      local y = m(x);
      (y * y):sum():backward()
      helper.check(case.y, y)
      helper.check(case.dx_sum, x.grad:abs():sum(), 1e-4)
      helper.check(case.dw, m.weight.grad, 1e-4)
    end)
  end

  it("takes a single image", function()
    assert.are.same({2, 4, 3}, {nn.Conv2d(4, 2, 3)(lt.ones(4, 6, 5)).shape:unpack()})
  end)

  it("gives its bias where no channels come in, of any rank and both ways", function()
    for _, name in ipairs{"Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"} do
      local n = tonumber(name:match("%d"))
      for _, batch in ipairs{true, false} do
        local shape = {0, 4, 4, 4}
        shape = {unpack(shape, 1, n + 1)}
        if batch then table.insert(shape, 1, 2) end
        local m = helper.fill(nn[name](0, 3, 2))
        local x = lt.zeros(shape, {requires_grad = true})
        local y = m(x)
        y:sum():backward()
        local last = y:movedim(batch and 1 or 0, -1)
        assert.is_true(lt.equal(m.bias:expand(last.shape), last))
        assert.are.equal(y:numel() / 3, m.bias.grad[0]:item())
        assert.are.equal(0, nn[name](0, 3, 2, {bias = false})(x):abs():sum():item())
      end
    end
  end)

  it("keeps its sizes as sizes", function()
    local m = nn.Conv2d(4, 2, 3, {padding = {1, 2}})
    assert.are.equal(3, m.kernel_size[1])
    assert.are.equal("{1, 2}", tostring(m.padding))
  end)

  it("follows changes of its fields", function()
    local m = nn.Conv2d(1, 1, 3)
    m.padding = {1, 1}
    assert.are.same({1, 1, 4, 4}, {m(lt.ones(1, 1, 4, 4)).shape:unpack()})
  end)

  it("starts in PyTorch's bounds", function()
    local m = nn.Conv2d(8, 64, 3)
    local bound = 1 / math.sqrt(8 * 9)
    for p in m:parameters() do
      local most = p:abs():max():item()
      assert.is_true(most <= bound and most > 0.8 * bound)
    end
  end)

  it("refuses wrong arguments", function()
    assert.has_error(function() nn.Conv2d(3, 4, 3, {groups = 2}) end, "Conv2d: in_channels 3 must be divisible by groups 2")
    assert.has_error(function() nn.Conv2d(3, 4, {3, 3, 3}) end)
    assert.has_error(function() nn.Conv2d(3, 4, 0) end, "Conv2d: argument 'kernel_size' must be a whole number of at least 1 or 2 of them, got 0")
    assert.has_error(function() nn.Conv2d(3, 4, 3, {padding = "same", stride = 2}) end)
    assert.has_error(function() nn.Conv2d(3, 4, 3, {padding_mode = "mirror"}) end)
    assert.has_error(function() nn.Conv2d(3, 4, 3)(lt.ones(1, 2, 5, 5)) end)
    assert.has_error(function() nn.Conv2d(1, 1, 3, {padding = 5, padding_mode = "circular"})(lt.ones(1, 1, 4, 4)) end)
  end)
end)
