--- Convolutions and images beyond the cases of fixtures: sizes that a call asks for, errors, derivatives of the functions of F.

local lt = require("lunette")
local checks = require("spec.nn.checks")
local nn, F = lt.nn, lt.nn.functional
local shape, double, differentiable, refuses = checks.shape, checks.double, checks.differentiable, checks.refuses

describe("transposed convolution", function()
  it("gives the size that the call asks for", function()
    for n = 1, 3 do
      local sizes, whole = {}, {2, 3}
      for d = 1, n do sizes[d], whole[2 + d] = 7 + d % 2, 7 + d % 2 end
      local input = {2, 4}
      for d = 1, n do input[2 + d] = 4 end
      local m, x = nn["ConvTranspose" .. n .. "d"](4, 3, 3, 2, {padding = 1}), lt.randn(input)
      local y = m(x, sizes)
      assert.are.same(whole, shape(y))
      assert.is_true(lt.equal(y, m(x, {output_size = whole})))
      assert.is_true(lt.equal(y, m(x, lt.Size(whole))))
      assert.are.same({unpack(whole, 2)}, shape(m(x[0], sizes)))
    end
  end)

  it("undoes the sizes of a convolution, and is its gradient", function()
    local x, w = lt.randn(1, 3, 6, 7), lt.randn(5, 3, 3, 2)
    x:requires_grad_()
    local y = F.conv2d(x, w, nil, {stride = 2, padding = 1})
    local g = lt.randn(shape(y))
    local dx = lt.autograd.grad(y, x, {grad_outputs = g})[1]
    local back = F.conv_transpose2d(g, w, nil, {stride = 2, padding = 1, output_padding = {1, 1}})
    assert.are.same(shape(x), shape(back))
    assert.is_true(lt.allclose(dx, back, 1e-4, 1e-5))
  end)

  it("has the derivatives of first and second order that finite differences show", function()
    differentiable(function(x, w, b) return F.conv_transpose1d(x, w, b, 2, 1, 1) end, double(1, 2, 3), double(2, 2, 3), double(2))
    differentiable(function(x, w) return F.conv_transpose2d(x, w, nil, {groups = 2, dilation = 2, output_padding = 1}) end, double(1, 2, 2, 2), double(2, 1, 2, 1))
    differentiable(function(x, w) return F.conv_transpose3d(x, w, nil, {stride = {1, 2, 1}}) end, double(1, 1, 2, 1, 2), double(1, 2, 1, 2, 2))
  end)

  it("starts in PyTorch's bounds", function()
    local m = nn.ConvTranspose2d(64, 8, 3)
    local bound = 1 / math.sqrt(8 * 9)
    for p in m:parameters() do
      local most = p:abs():max():item()
      assert.is_true(most <= bound and most > 0.6 * bound)
    end
  end)

  it("names what is wrong", function()
    local m, x = nn.ConvTranspose2d(4, 3, 3, 2), lt.randn(1, 4, 3, 3)
    refuses("ConvTranspose2d: output_size 9 of dimension 0 must lie between 7 and 8 for input {1, 4, 3, 3}", function() m(x, {9, 7}) end)
    refuses("ConvTranspose2d: output_size takes 2 numbers, or a whole shape, got 3", function() m(x, {7, 7, 7}) end)
    refuses("weight of shape {4, 3, 3, 3} does not fit the 3 channels of input {1, 3, 3, 3}", function() m(lt.randn(1, 3, 3, 3)) end)
    refuses("output_padding 2 must not be negative and must be below stride 2 or dilation 1", function()
      F.conv_transpose2d(x, m.weight, nil, {stride = 2, output_padding = 2})
    end)
    refuses("bias must have shape {3}", function() F.conv_transpose2d(x, m.weight, lt.ones(4)) end)
    refuses("padding_mode", function() nn.ConvTranspose2d(4, 3, 3, {padding_mode = "reflect"}) end)
    refuses("padding 9 leaves nothing", function() F.conv_transpose2d(x, m.weight, nil, {padding = 9}) end)
    refuses("conv_transpose1d: input must have 3 dimensions, or 2 without a batch", function() F.conv_transpose1d(x, m.weight) end)
  end)
end)

describe("convolution", function()
  it("names what is wrong, over any number of dimensions", function()
    refuses("conv1d: input must have 3 dimensions, or 2 without a batch", function() F.conv1d(lt.ones(1, 2, 3, 4), lt.ones(1, 2, 3)) end)
    refuses("conv3d: weight must have 5 dimensions", function() F.conv3d(lt.ones(1, 2, 3, 4, 5), lt.ones(1, 2, 3)) end)
    refuses("conv1d: the kernel reaches over 4 elements, the padded input has 3", function() F.conv1d(lt.ones(1, 2, 3), lt.ones(1, 2, 4)) end)
    refuses("conv1d: padding \"same\" needs stride 1, got 2", function() F.conv1d(lt.ones(1, 1, 5), lt.ones(1, 1, 3), {stride = 2, padding = "same"}) end)
    refuses("conv1d: weight must have 3 dimensions", function() F.conv1d(lt.ones(1, 1, 5), lt.ones(1, 1), {padding = "same"}) end)
    refuses("Conv3d: in_channels 3 must be divisible by groups 2", function() nn.Conv3d(3, 4, 3, {groups = 2}) end)
  end)
end)

describe("columns", function()
  it("fold what was unfolded as often as windows hold it", function()
    local x, p = lt.randn(2, 3, 5, 6), {padding = 1, stride = {1, 2}, dilation = {2, 1}}
    local counts = F.fold(F.unfold(lt.ones(2, 3, 5, 6), 3, p), {5, 6}, 3, p)
    assert.is_true(lt.allclose(F.fold(F.unfold(x, 3, p), {5, 6}, 3, p), x * counts, 1e-4, 1e-5))
  end)

  it("are a convolution when multiplied", function()
    local x, w = lt.randn(2, 3, 5, 6), lt.randn(4, 3, 2, 3)
    local y = w:flatten(1):matmul(F.unfold(x, {2, 3})):reshape(2, 4, 4, 4)
    assert.is_true(lt.allclose(y, F.conv2d(x, w), 1e-4, 1e-4))
  end)

  it("name what is wrong", function()
    refuses("unfold: no window of kernel_size {5, 5} and dilation {1, 1} fits into {4, 4} with padding {0, 0}", function() F.unfold(lt.ones(1, 1, 4, 4), 5) end)
    refuses("must have 4 dimensions, or 3 without a batch", function() F.unfold(lt.ones(4, 4), 2) end)
    refuses("the 3 rows of input {1, 3, 9} do not divide into kernels of {2, 2}", function() F.fold(lt.ones(1, 3, 9), 4, 2) end)
    refuses("an image of {4, 4} has 9 windows, input {1, 4, 8} has 8 columns", function() F.fold(lt.ones(1, 4, 8), 4, 2) end)
    refuses("kernel_size", function() F.unfold(lt.ones(1, 1, 4, 4), {1, 2, 3}) end)
    refuses("Unfold: argument 'kernel_size'", function() nn.Unfold(0) end)
  end)
end)

describe("interpolation", function()
  it("has the derivatives of first and second order that finite differences show", function()
    differentiable(function(x) return F.interpolate(x, 5, {mode = "linear"}) end, double(1, 2, 3))
    differentiable(function(x) return F.interpolate(x, {5, 2}, {mode = "bicubic", align_corners = true}) end, double(1, 1, 3, 4))
    differentiable(function(x) return F.interpolate(x, {2, 3}, {mode = "bilinear", antialias = true}) end, double(1, 1, 5, 4))
    differentiable(function(x) return F.interpolate(x, {scale_factor = {2, 0.5, 1}, mode = "nearest"}) end, double(1, 1, 2, 3, 2))
  end)

  it("under former names is the same", function()
    local x = lt.randn(1, 2, 3, 4)
    assert.is_true(lt.equal(F.upsample(x, {scale_factor = 2, mode = "bilinear"}), F.interpolate(x, {scale_factor = 2, mode = "bilinear"})))
    assert.is_true(lt.equal(F.upsample_nearest(x, 7), F.interpolate(x, 7)))
    assert.is_true(lt.equal(F.upsample_bilinear(x, {scale_factor = 2}), F.interpolate(x, {scale_factor = 2, mode = "bilinear", align_corners = true})))
  end)

  it("keeps images in channels-last memory there", function()
    local x = lt.randn(2, 4, 5, 3):permute(0, 3, 1, 2)
    local y = F.interpolate(x, {7, 9}, {mode = "bilinear"})
    assert.is_true(y:permute(0, 2, 3, 1):is_contiguous())
    assert.is_true(lt.allclose(y, F.interpolate(x:contiguous(), {7, 9}, {mode = "bilinear"})))
  end)

  it("names what is wrong", function()
    local x = lt.randn(1, 2, 3, 4)
    refuses("exactly one of size and scale_factor", function() F.interpolate(x) end)
    refuses("exactly one of size and scale_factor", function() F.interpolate(x, 3, 2) end)
    refuses("mode \"trilinear\" takes an input of 5 dimensions, got shape {1, 2, 3, 4}", function() F.interpolate(x, {scale_factor = 2, mode = "trilinear"}) end)
    refuses("mode \"nearest\" takes no align_corners", function() F.interpolate(x, 3, {align_corners = false}) end)
    refuses("mode \"nearest\" takes no antialias", function() F.interpolate(x, 3, {antialias = true}) end)
    refuses("needs antialias", function() F.interpolate(x, 3, {mode = "lanczos"}) end)
    refuses("scale_factor takes 1 or 2 numbers, got 3", function() F.interpolate(x, {scale_factor = {1, 2, 3}}) end)
    refuses("scale_factor must hold numbers above 0, got -1", function() F.interpolate(x, {scale_factor = -1}) end)
    refuses("size takes 1 or 2 numbers, got 3", function() F.interpolate(x, {1, 2, 3}) end)
    refuses("sizes must be at least 1", function() F.interpolate(x, {scale_factor = 0.1}) end)
    refuses("recompute_scale_factor goes with scale_factor", function() F.interpolate(x, 3, {recompute_scale_factor = true}) end)
    refuses("takes an input of 3 to 5 dimensions", function() F.interpolate(lt.ones(2, 3), 3) end)
    refuses("Upsample: exactly one of size and scale_factor", function() nn.Upsample() end)
    refuses("floating", function() F.interpolate(lt.ones(1, 1, 4, {dtype = "int64"}), 3) end)
  end)
end)

describe("shuffles", function()
  it("undo each other", function()
    local x = lt.randn(2, 12, 3, 4)
    assert.is_true(lt.equal(x, F.pixel_unshuffle(F.pixel_shuffle(x, 2), 2)))
    assert.is_true(lt.equal(x, F.channel_shuffle(F.channel_shuffle(x, 3), 4)))
  end)

  it("name what is wrong", function()
    refuses("3 channels must be divisible by the square of upscale_factor 2", function() F.pixel_shuffle(lt.ones(1, 3, 2, 2), 2) end)
    refuses("must be divisible by downscale_factor 2", function() F.pixel_unshuffle(lt.ones(1, 3, 3, 2), 2) end)
    refuses("5 channels must be divisible by groups 2", function() F.channel_shuffle(lt.ones(1, 5, 2), 2) end)
    refuses("at least 3 dimensions", function() F.pixel_shuffle(lt.ones(4, 4), 2) end)
  end)
end)

describe("interpolation of bytes", function()
  local x = lt.arange(16):mul(15):reshape(1, 1, 4, 4):to("uint8")

  it("rounds after each dimension, the last one first, as PyTorch does", function()
    local y = F.interpolate(x, {scale_factor = 2, mode = "bilinear"})
    assert.are.equal("uint8", y.dtype)
    assert.are.same({0, 4, 11, 19, 26, 34, 41, 45, 15, 19, 26, 34}, y:flatten()[":12"]:tolist())
    assert.are.same({0, 0, 4, 13, 20, 29, 36, 41, 11, 14, 21, 30}, F.interpolate(x, {scale_factor = 2, mode = "bicubic"}):flatten()[":12"]:tolist())
    local close = F.interpolate(x, {size = {3, 5}, mode = "bilinear", antialias = true}):flatten()[":12"]:float()
    assert.is_true((close - lt.tensor{18, 29, 41, 52, 63, 90, 101, 113, 124, 135, 162, 173}):abs():max():item() <= 1) -- it rounds its weights
    assert.are.same({0, 15, 30, 30, 45, 120, 135, 150, 150, 165, 180, 195}, F.interpolate(x, {size = {3, 5}, mode = "nearest-exact"}):flatten()[":12"]:tolist())
    assert.are.same({0, 0, 15, 30, 45, 60, 60, 75, 90, 105, 120, 120}, F.interpolate(x, {size = {3, 5}}):flatten()[":12"]:tolist())
  end)

  it("is for images and the modes that look at neighbours", function()
    assert.are.same({2, 8, 8}, shape(F.interpolate(lt.ones(2, 8, 4, {dtype = "uint8"}), {scale_factor = 2})))
    refuses("interpolate: mode \"linear\" takes no input of dtype uint8", function() F.interpolate(x[0], {scale_factor = 2, mode = "linear"}) end)
    refuses("interpolate: mode \"area\" takes no input of dtype uint8", function() F.interpolate(x, {scale_factor = 2, mode = "area"}) end)
    refuses("interpolate: input must be of a floating dtype or uint8, got int32 (convert it with :float())", function() F.interpolate(x:to("int32"), {scale_factor = 2}) end)
  end)
end)

describe("sampling by a grid", function()
  it("of the identity is the input, with its gradient", function()
    for _, size in ipairs {{2, 3, 4, 5}, {1, 2, 3, 4, 2}} do
      local n = #size - 2
      local theta = lt.zeros(size[1], n, n + 1)
      for d = 0, n - 1 do theta[(":, %d, %d"):format(d, d)] = 1 end
      for _, align in ipairs {true, false} do
        local x = lt.randn(size):requires_grad_()
        local y = F.grid_sample(x, F.affine_grid(theta, size, align), {align_corners = align, padding_mode = "border"})
        assert.is_true(lt.allclose(x, y, 1e-4, 1e-5))
        y:sum():backward()
        assert.is_true(lt.allclose(x.grad, lt.ones(size), 1e-4, 1e-4))
      end
    end
  end)

  it("differentiates the map of the grid", function()
    differentiable(function(theta) return F.affine_grid(theta, {1, 1, 2, 3}) end, double(1, 2, 3))
  end)

  it("takes coordinates that are no numbers, or far outside", function()
    local grid = lt.tensor{{{{0 / 0, 0}, {math.huge, 1e30}, {-1e30, -math.huge}, {0, 0}}}}
    for _, mode in ipairs {"bilinear", "nearest", "bicubic"} do
      for _, padding in ipairs {"zeros", "border", "reflection"} do
        local x = lt.ones(1, 1, 3, 3):requires_grad_()
        local y = F.grid_sample(x, grid, mode, padding)
        assert.is_true(math.abs(y["0, 0, 0, 3"]:item() - 1) < 1e-6)
        y:sum():backward()
      end
    end
  end)

  it("names what is wrong", function()
    local x = lt.ones(2, 1, 3, 3)
    refuses("grid must have 4 dimensions, first the batch 2 of input and last 2 coordinates, got {1, 3, 3, 2}", function() F.grid_sample(x, lt.ones(1, 3, 3, 2)) end)
    refuses("grid must have 4 dimensions", function() F.grid_sample(x, lt.ones(2, 3, 3, 3)) end)
    refuses("input must have 4 or 5 dimensions", function() F.grid_sample(x[0], lt.ones(3, 3, 2)) end)
    refuses("mode bicubic is for images", function() F.grid_sample(lt.ones(1, 1, 2, 2, 2), lt.ones(1, 1, 1, 1, 3), "bicubic") end)
    refuses("expected tensors of one dtype", function() F.grid_sample(x, lt.ones(2, 3, 3, 2, {dtype = "float64"})) end)
    refuses("theta must have shape {N, 2, 3} for a size of 4 numbers, got {1, 2, 2}", function() F.affine_grid(lt.ones(1, 2, 2), {1, 1, 2, 2}) end)
    refuses("size takes 4 or 5 numbers, got 3", function() F.affine_grid(lt.ones(1, 2, 3), {1, 1, 2}) end)
    refuses("holds 1 maps, size asks for 2", function() F.affine_grid(lt.ones(1, 2, 3), {2, 1, 2, 2}) end)
  end)
end)
