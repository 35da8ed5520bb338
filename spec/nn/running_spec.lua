--- Running statistics of batch normalisation: in any dtype and layout, and their bookkeeping.

local lt = require("lunette")
local F = lt.nn.functional

describe("running statistics", function()
  for _, dtype in ipairs {"float32", "float64", "float16", "bfloat16"} do
    for _, kept in ipairs {"float32", "float64", "float16"} do
      it(("in %s of a batch in %s"):format(kept, dtype), function()
        local x = (lt.arange(40 * 3):reshape(4, 3, 10) * 0.37):sin():to(dtype)
        local both = lt.full({37, 2}, 0.5, {dtype = kept}) -- more rows than channels, so that the columns are not packed
        local mean, var = both["4:7, 0"], both["4:7, 1"]
        F.batch_norm(x, mean, var, nil, nil, true, 0.25)
        local wide = x:double():transpose(0, 1):reshape(3, 40)
        local tolerance = (kept == "float16" or dtype ~= "float64" and dtype ~= "float32") and 1e-3 or 1e-6
        assert.is_true(lt.allclose(mean:double(), wide:mean(1) * 0.25 + 0.375, tolerance, tolerance))
        assert.is_true(lt.allclose(var:double(), wide:var(1) * 0.25 + 0.375, tolerance, tolerance))
        assert.is_true(lt.equal(both["0:4"]:double(), lt.full({4, 2}, 0.5, {dtype = "float64"})))
        assert.is_true(lt.equal(both["7:"]:double(), lt.full({30, 2}, 0.5, {dtype = "float64"})))
      end)
    end
  end

  it("are known to have changed", function()
    local mean, var = lt.zeros(3), lt.ones(3)
    for _, kept in ipairs {mean, var} do
      local y = lt.ones(3, {requires_grad = true}) * kept
      F.batch_norm(lt.randn(5, 3), mean, var, nil, nil, true, 0.1)
      assert.has_error(function() y:sum():backward() end)
    end
  end)

  it("stay as they are outside training", function()
    local mean, var = lt.zeros(3), lt.ones(3)
    F.batch_norm(lt.randn(5, 3), mean, var)
    assert.is_true(lt.equal(mean, lt.zeros(3)) and lt.equal(var, lt.ones(3)))
  end)

  it("are mixed for many channels as for few", function()
    for _, channels in ipairs {1, 5, 16, 33, 130} do
      local x, mean, var = lt.randn(6, channels, 2, 2), lt.zeros(channels), lt.ones(channels)
      for _, layout in ipairs {x, x:permute(0, 2, 3, 1):contiguous():permute(0, 3, 1, 2)} do
        mean:zero_()
        var:fill_(1)
        F.batch_norm(layout, mean, var, nil, nil, true, 0.1)
        assert.is_true(lt.allclose(mean, x:mean({0, 2, 3}) * 0.1, 1e-5, 1e-6))
        assert.is_true(lt.allclose(var, x:var({0, 2, 3}) * 0.1 + 0.9, 1e-5, 1e-6))
      end
    end
  end)
end)
