--- Every elementwise row of the operator table over dtypes and layouts, with its derivatives of first and second order; the structured
--- operators' gradients one by one.

local lt = require("lunette")
local ops = require("lunette.ops")

local gradcheck, gradgradcheck = lt.autograd.gradcheck, lt.autograd.gradgradcheck
local ELEMENTWISE = {[0] = 1, [1] = 2, [2] = 3} -- kind of a row: how many operands

--- Numbers spread over the row's own range, none of them at a kink.
local function sample(info, shape, phase, dtype)
  local n, values = 1, {}
  for _, size in ipairs(shape) do n = n * size end
  for i = 1, n do
    local u = ((i * 0.6180339887 + phase * 0.37) % 1) * 0.96 + 0.02
    values[i] = info.low + (info.high - info.low) * u
  end
  return lt.tensor(values, {dtype = dtype or "float64"}):reshape(shape)
end

--- The dtypes that a row is tried in.
local function dtypes_of(info) return info.class == "WHOLE" and {"int64", "int32", "uint8"} or {"float32", "float64", "bfloat16"} end

local function operands(info, shape, dtype)
  local list = {}
  dtype = dtype or dtypes_of(info)[1]:gsub("float32", "float64")
  for i = 1, ELEMENTWISE[info.kind] do list[i] = sample(info, shape, i, dtype) end
  if info.name == "where" then list[1] = list[1]:gt(0) end
  return list
end

--- The same values, laid out otherwise.
local layouts = {
  transposed = function(t) return t:t():contiguous():t() end,
  sliced = function(t)
    local wide = lt.zeros(t:size(0) + 1, t:size(1) * 2 + 3, {dtype = t.dtype})
    local view = wide:narrow(0, 1, t:size(0)):slice(1, 3, nil, 2)
    view:copy_(t)
    return view
  end,
  expanded = function(t) return t["0:1"]:expand(t.shape) end,
}

--- The gradients of fn's first output, weighted by numbers, with a graph or without: by the operators' texts, or by what is fused.
local function gradients(fn, inputs, create_graph)
  local wanted, y = {}, (fn(unpack(inputs)))
  for _, t in ipairs(inputs) do
    if t.requires_grad then wanted[#wanted + 1] = t end
  end
  local weights = sample({low = -1, high = 1}, {y.shape:unpack()}, 7)
  return lt.autograd.grad({y}, wanted, {weights}, {create_graph = create_graph})
end

local function assert_same_gradients(fn, inputs)
  local fused, text = gradients(fn, inputs, false), gradients(fn, inputs, true)
  for i = 1, #fused do assert.is_true(lt.allclose(fused[i], text[i], 1e-12, 1e-13), "of input " .. i) end
end

local function apply(info, list) return ops[info.name](unpack(list)) end

for _, info in ipairs(ops.list) do
  if ELEMENTWISE[info.kind] and info.forward then
    describe(info.name, function()
      it("gives an element the same result in every layout and at every place", function()
        for _, dtype in ipairs(dtypes_of(info)) do
          local list = operands(info, {5, 37}, dtype)
          local want = apply(info, list)
          for name, lay in pairs(layouts) do
            local laid, plain = {}, {}
            for i, t in ipairs(list) do
              laid[i] = lay(t)
              plain[i] = laid[i]:contiguous()
            end
            local expected = name == "expanded" and apply(info, plain) or want
            assert.is_true(lt.equal(expected:contiguous(), apply(info, laid):contiguous()), name .. " " .. dtype)
          end
        end
      end)

      it("gives an element the same result on any number of threads, first or last in a tensor", function()
        local list = operands(info, {40000}, dtypes_of(info)[1])
        local threads = lt.get_num_threads()
        lt.set_num_threads(1)
        local alone = apply(info, list)
        lt.set_num_threads(2)
        local shared = apply(info, list)
        lt.set_num_threads(threads)
        assert.is_true(lt.equal(alone, shared))
        for i, t in ipairs(list) do list[i] = t["-5:"]:clone() end
        assert.is_true(lt.equal(alone["-5:"], apply(info, list)))
      end)

      it("takes empty and 0-dim tensors", function()
        assert.are.equal(0, apply(info, operands(info, {0, 3})):numel())
        assert.are.equal(0, apply(info, operands(info, {})):dim())
      end)

      if info.derivative[0] or info.derivative[1] then
        it("has the derivatives of first and second order that finite differences show", function()
          local list = operands(info, {2, 3})
          for i, t in ipairs(list) do
            if info.derivative[i - 1] then t:requires_grad_() end
          end
          local function fn(...) return ops[info.name](...) end
          assert.is_true(gradcheck(fn, list))
          assert.is_true(gradgradcheck(fn, list))
          assert_same_gradients(fn, list)
        end)
      end
    end)
  end
end

local SIZES = lt.LongTensor{3, 2, 1}:to("cpu") -- sequences in each step of packed ones
local ROWS = sample({low = 0.3, high = 1.7}, {2, 5}, 2) -- what a first input of this shape is
local EYE = lt.eye(3, {dtype = "float64"})
local APART = lt.tensor({{4, 0, 1}, {0, 7, 0}, {1, 0, 12}, {2, 1, 0}}, {dtype = "float64"}) -- singular values of what is added to it differ

--- name -> function of float64 inputs, and the shapes of these.
local structured = {
  sum = {function(x) return x:sum({0, 2}) end, {2, 3, 2}},
  mean = {function(x) return x:mean(1, true) end, {2, 3, 2}},
  var = {function(x) return x:var(1) end, {2, 4}},
  std = {function(x) return x:std({0, 1}) end, {2, 4}},
  prod = {function(x) return x:prod(1) end, {2, 3}},
  prod_beside_zeros = {function(x) return (x * lt.tensor({{1, 0, 1, 1}, {0, 1, 0, 1}, {1, 1, 1, 1}}, {dtype = "float64"})):prod({0, 1}) end, {3, 4}},
  prod_of_a_row_with_a_zero = {function(x) return (x - ROWS["1:2, 2:3"]):prod(1) end, {2, 5}},
  amax = {function(x) return x:amax(0) end, {3, 2}},
  max_dim = {function(x) return (x:max(1)) end, {2, 3}},
  norm = {function(x) return x:norm(3, 1) end, {2, 3}},
  logsumexp = {function(x) return x:logsumexp(1) end, {2, 3}},
  cumsum = {function(x) return x:cumsum(1) end, {2, 3}},
  matmul = {function(a, b) return a:matmul(b) end, {2, 2, 3}, {3, 2}},
  batched = {function(a, b) return a:matmul(b) end, {1, 2, 3}, {2, 3, 2}},
  vectors = {function(a, b) return a:matmul(b) end, {3}, {3}},
  addmm = {function(c, a, b) return lt.addmm(c, a, b, 0.5, 2) end, {2}, {3, 2}, {2, 2}},
  linear = {function(x, w, b) return lt.linear(x, w, b) end, {2, 2, 3}, {4, 3}, {4}},
  outer = {function(a, b) return lt.outer(a, b) end, {2}, {3}},
  addmv = {function(c, a, b) return lt.addmv(c, a, b, 0.5, 2) end, {1}, {2, 3}, {3}},
  addr = {function(c, a, b) return lt.addr(c, a, b, 0.5, 2) end, {3}, {2}, {3}},
  addbmm = {function(c, a, b) return lt.addbmm(c, a, b, 0.5, 2) end, {2}, {2, 2, 3}, {2, 3, 2}},
  kron = {function(a, b) return lt.kron(a, b) end, {2, 3}, {2}},
  cross = {function(a, b) return lt.cross(a, b) end, {2, 3}, {2, 3}},
  linalg_cross = {function(a, b) return lt.linalg.cross(a, b, 0) end, {3, 1}, {3, 2}},
  linalg_vecdot = {function(a, b) return lt.linalg.vecdot(a, b) end, {2, 3}, {3}},
  matrix_power = {function(x) return lt.matrix_power(x, 5) end, {2, 3, 3}},
  matrix_power_of_inverses = {function(x) return lt.matrix_power(x + EYE, -2) end, {3, 3}},
  einsum = {function(a, b, c) return lt.einsum("bij,bjk,k->bi", a, b, c) end, {2, 3, 2}, {2, 2, 2}, {2}},
  einsum_of_diagonals = {function(a, b) return lt.einsum("...ii,i->i...", a, b) end, {2, 3, 3}, {3}},
  tensordot = {function(a, b) return lt.tensordot(a, b, {{0, 2}, {1, 0}}) end, {2, 3, 2}, {2, 2}},
  renorm = {function(x) return x:renorm(2, 0, 1.5) end, {3, 2}},
  cov = {function(x, w) return lt.cov(x, {aweights = w}) end, {2, 4}, {4}},
  corrcoef = {function(x) return lt.corrcoef(x * x + APART:t()) end, {3, 4}},
  diff = {function(x, y) return x:diff(2, 1, y) end, {2, 4}, {2, 1}},
  trapezoid = {function(y, x) return lt.trapezoid(y, x) * lt.cumulative_trapezoid(y, {dx = 0.5}):sum(1) end, {2, 4}, {4}},
  nanmean = {function(x) return lt.cat({x, x * 2}):nanmean(0) end, {2, 3}},
  linalg_inv = {function(x) return lt.linalg.inv(x + EYE) end, {2, 3, 3}},
  linalg_det = {function(x) return lt.linalg.det(x + EYE) end, {2, 3, 3}},
  linalg_slogdet = {function(x) return (select(2, lt.linalg.slogdet(x + EYE))) end, {2, 3, 3}},
  logdet = {function(x) return lt.logdet(x:matmul(x:t()) + EYE) end, {3, 3}},
  linalg_cholesky = {function(x) return lt.linalg.cholesky(x:matmul(x:transpose(-1, -2)) + EYE) end, {2, 3, 3}},
  linalg_cholesky_upper = {function(x) return lt.linalg.cholesky(x:matmul(x:t()) + EYE, {upper = true}) end, {3, 3}},
  cholesky_solve = {function(b, l) return lt.cholesky_solve(b, l:tril()) end, {3, 2}, {3, 3}},
  cholesky_solve_upper = {function(b, l) return lt.cholesky_solve(b, l:triu(), true) end, {3, 2}, {3, 3}},
  linalg_svd = {function(x)
    local u, s, v = lt.linalg.svd(x + APART, false)
    return lt.cat({(u * u):flatten(), s:flatten(), (v * v):flatten(), u:narrow(-1, 0, 1):matmul(v:narrow(-2, 0, 1)):flatten()})
  end, {2, 4, 3}},
  linalg_svd_of_wide_matrices = {function(x)
    local u, s, v = lt.linalg.svd(x + APART:t(), false)
    return lt.cat({(u * u):flatten(), s:flatten(), (v * v):flatten()})
  end, {3, 4}},
  linalg_svd_full = {function(x) return (select(2, lt.linalg.svd(x + APART))) end, {4, 3}},
  linalg_svdvals = {function(x) return lt.linalg.svdvals(x + APART) end, {4, 3}},
  linalg_eigh = {function(x)
    local w, v = lt.linalg.eigh(x + x:transpose(-1, -2) + APART["0:3"])
    return lt.cat({w:flatten(), (v * v):flatten()})
  end, {2, 3, 3}},
  linalg_eigvalsh = {function(x) return lt.linalg.eigvalsh(x + x:t() + APART["0:3"], "U") end, {3, 3}},
  linalg_pinv = {function(x) return lt.linalg.pinv(x + APART) end, {2, 4, 3}},
  linalg_pinv_of_symmetric_matrices = {function(x) return lt.linalg.pinv(x + x:t() + APART["0:3"], {hermitian = true}) end, {3, 3}},
  pinverse = {function(x) return lt.pinverse(x + APART:t()) end, {3, 4}},
  lstsq_matrices = {function(a, b) return (ops.lstsq_matrices(a + APART, b)) end, {4, 3}, {4, 2}},
  lstsq = {function(a, b) return (lt.linalg.lstsq(a + APART:t(), b)) end, {3, 4}, {3, 1}},
  matrix_norms = {function(x)
    local out = {}
    for i, order in ipairs{"fro", "nuc", 1, -1, 2, -2, math.huge, -math.huge} do out[i] = lt.linalg.matrix_norm(x + APART, order) end
    return lt.stack(out)
  end, {4, 3}},
  linalg_qr = {function(x)
    local q, r = lt.linalg.qr(x)
    return lt.cat({q * q * q, r}, 1)
  end, {2, 4, 3}},
  linalg_qr_of_wide_matrices = {function(x)
    local q, r = lt.linalg.qr(x, "complete")
    return lt.cat({q * q * q, r}, -1)
  end, {3, 5}},
  linalg_qr_without_q = {function(x) return (select(2, lt.linalg.qr(x, "r"))) end, {3, 2}},
  linalg_householder_product = {function(x, tau) return lt.linalg.householder_product(x, tau) end, {2, 4, 3}, {2, 2}},
  solve_triangular = {function(a, b) return lt.linalg.solve_triangular(a, b, {upper = true}) end, {3, 3}, {2, 3, 2}},
  solve_triangular_from_the_right = {function(a, b) return lt.linalg.solve_triangular(a, b, {upper = false, left = false, unitriangular = true}) end,
    {2, 3, 3}, {2, 3}},
  solve_matrices = {function(a, b) return ops.solve_matrices(a + EYE, b) end, {3, 3}, {2, 3, 2}},
  linalg_solve = {function(a, b) return lt.linalg.solve(a + EYE, b) end, {2, 3, 3}, {2, 3}},
  linalg_solve_from_the_right = {function(a, b) return lt.linalg.solve(a + EYE, b, {left = false}) end, {3, 3}, {2, 3}},
  matrix_exp = {function(x) return lt.matrix_exp(x) end, {2, 3, 3}},
  softmax = {function(x) return x:softmax(0) end, {3, 2}},
  log_softmax = {function(x) return x:log_softmax(1) end, {2, 3}},
  cat = {function(a, b) return lt.cat({a, b}, 1) end, {2, 1}, {2, 3}},
  stack = {function(a, b) return lt.stack({a, b}, 1) end, {2, 2}, {2, 2}},
  gather = {function(x) return x:gather(1, lt.LongTensor {{0, 0}, {2, 1}}) end, {2, 3}},
  scatter_add = {function(x, s) return x:scatter_add(0, lt.LongTensor {{1, 1}}, s) end, {2, 2}, {1, 2}},
  index_select = {function(x) return x:index_select(1, lt.LongTensor {2, 0, 2}) end, {2, 3}},
  index = {function(x) return x[{{0, 1, 1}, {2, 0, 0}}] end, {2, 3}},
  masked_fill = {function(x) return x:masked_fill(lt.tensor {true, false, true}, 2) end, {2, 3}},
  embedding = {function(w) return lt.embedding(w, lt.LongTensor {{0, 2}, {2, 1}}) end, {3, 2}},
  embedding_dw_of_some = {function(dy, scale)
    return ops.embedding_dw(dy, lt.LongTensor {0, 2, 2, 1}, lt.LongTensor {1, 0, 1, 1}, scale, {padding_idx = 1, rows = 3})
  end, {2, 3}, {4}},
  embedding_dot = {function(w, dy) return ops.embedding_dot(w, lt.LongTensor {{0, 2}}, dy) end, {3, 2}, {1, 2, 2}},
  embedding_dot_of_some = {function(w, dy) return ops.embedding_dot(w, lt.LongTensor {0, 2, 2}, dy, lt.LongTensor {1, 1, 0}) end, {3, 2}, {2, 2}},
  embedding_bag = {function(w, factors) return lt.embedding_bag(w, lt.LongTensor {0, 2, 2, 1}, lt.LongTensor {0, 1, 1}, factors, "sum") end, {3, 2}, {4}},
  embedding_bag_with_padding = {function(w, factors)
    return lt.embedding_bag(w, lt.LongTensor {0, 2, 2, 1, 1}, lt.LongTensor {0, 3, 4}, factors, "sum", {padding_idx = 2, include_last_offset = true})
  end, {3, 2}, {5}},
  embedding_bag_mean = {function(w) return lt.embedding_bag(w, lt.LongTensor {{0, 2}, {2, 1}}, {mode = "mean"}) end, {3, 2}},
  embedding_bag_max = {function(w) return lt.embedding_bag(w, lt.LongTensor {0, 2, 2, 1}, lt.LongTensor {0, 3, 3}, {mode = "max"}) end, {3, 2}},
  conv2d = {function(x, w, b) return lt.conv2d(x, w, b, {stride = {2, 1}, padding = 1}) end, {1, 2, 4, 3}, {2, 2, 2, 3}, {2}},
  grouped_conv2d = {function(x, w) return lt.conv2d(x, w, nil, {groups = 2, dilation = 2}) end, {1, 2, 4, 4}, {2, 1, 2, 2}},
  max_pool2d = {function(x) return (lt.max_pool2d(x, 2)) end, {1, 2, 4, 4}},
  avg_pool2d = {function(x) return lt.avg_pool2d(x, 2, 1, 1) end, {1, 1, 3, 3}},
  conv1d = {function(x, w, b) return lt.conv1d(x, w, b, {stride = 2, padding = 1}) end, {2, 2, 5}, {3, 2, 3}, {3}},
  conv1d_dx = {function(dy, w) return ops.conv1d_dx(dy, w, 2, 1, {size = {1, 2, 4}}) end, {1, 2, 2}, {2, 2, 3}},
  conv1d_dw = {function(x, dy) return ops.conv1d_dw(x, dy, 2, 1, {size = {2, 2, 3}}) end, {1, 2, 4}, {1, 2, 2}},
  conv3d = {function(x, w, b) return lt.conv3d(x, w, b, {stride = {1, 2, 1}, padding = {0, 1, 0}}) end, {1, 2, 3, 3, 2}, {2, 2, 2, 3, 2}, {2}},
  conv3d_dx = {function(dy, w) return ops.conv3d_dx(dy, w, {size = {1, 2, 3, 2, 2}}) end, {1, 2, 2, 1, 2}, {2, 2, 2, 2, 1}},
  conv3d_dw = {function(x, dy) return ops.conv3d_dw(x, dy, {size = {2, 2, 2, 2, 1}}) end, {1, 2, 3, 2, 2}, {1, 2, 2, 1, 2}},
  max_pool1d = {function(x) return (lt.max_pool1d(x, 2)) end, {2, 2, 5}},
  max_pool1d_dx = {function(dy) return ops.max_pool1d_dx(dy, lt.LongTensor {{0, 3}}, 2, {size = {1, 4}}) end, {1, 2}},
  avg_pool1d = {function(x) return lt.avg_pool1d(x, 3, 2, 1) end, {2, 2, 5}},
  avg_pool1d_dx = {function(dy) return ops.avg_pool1d_dx(dy, 2, 1, 1, {size = {1, 1, 3}}) end, {1, 1, 4}},
  max_pool3d = {function(x) return (lt.max_pool3d(x, 2)) end, {1, 2, 2, 4, 2}},
  max_pool3d_dx = {function(dy) return ops.max_pool3d_dx(dy, lt.LongTensor {{{{5, 2}}}}, 2, {size = {1, 2, 2, 4}}) end, {1, 1, 1, 2}},
  avg_pool3d = {function(x) return lt.avg_pool3d(x, 2, 1, 1) end, {1, 1, 2, 2, 2}},
  avg_pool3d_dx = {function(dy) return ops.avg_pool3d_dx(dy, 2, 1, {size = {1, 2, 3, 2}}) end, {1, 1, 2, 1}},
  im2col = {function(x) return ops.im2col(x, {2, 1}, {1, 2}, 1, {1, 2}) end, {1, 2, 3, 4}},
  col2im = {function(x) return ops.col2im(x, {3, 4}, 2, 1, 1, {2, 1}) end, {1, 4, 10}},
  grid_sample = {function(x, grid) return ops.grid_sample(x, grid * 0.7 - 0.6, "bilinear", "border") end, {1, 2, 3, 3}, {1, 2, 2, 2}},
  grid_sample_bicubic = {function(x, grid) return ops.grid_sample(x, grid * 0.7 - 0.6, "bicubic", "reflection", true) end, {1, 1, 3, 4}, {1, 2, 1, 2}},
  grid_sample_of_volumes = {function(x, grid) return ops.grid_sample(x, grid * 0.7 - 0.6) end, {1, 1, 2, 3, 2}, {1, 1, 2, 1, 3}},
  grid_sample_dx = {function(dy, grid) return ops.grid_sample_dx(dy, grid * 0.7 - 0.6, {size = {1, 2, 3, 3}}) end, {1, 2, 2, 2}, {1, 2, 2, 2}},
  adaptive_max_pool = {function(x) return (ops.adaptive_max_pool(x, {2, 3})) end, {1, 2, 3, 4}},
  fractional_max_pool = {function(x)
    local samples = lt.tensor({{{0.3, 0.8}, {0.6, 0.1}}}, {dtype = "float64"})
    return (ops.fractional_max_pool(x, samples, 2, {2, 3}))
  end, {1, 2, 3, 5}},
  resample = {function(x) return ops.resample(x, 1, 5, "cubic") * ops.resample(x, 1, 5, "linear", {align_corners = true}) end, {2, 3, 2}},
  resample_dx = {function(dy) return ops.resample_dx(dy, -1, 7, "linear", {antialias = true}) * ops.resample_dx(dy, -1, 7, "area") end, {2, 3}},
  pad_twice = {function(x) return x:pad({1, -1, 2, 0}) * x:pad({1, -1, 2, 0}, "reflect") end, {3, 4}},
  pad_circular = {function(x) return x:pad({-1, 2, 1, 1}, "circular") * x:pad({-1, 2, 1, 1}, "replicate") end, {3, 4}},
  batch_norm = {function(x, w, b) return lt.batch_norm(x, w, b, nil, nil, true) end, {3, 2, 2}, {2}, {2}},
  batch_norm_of_two_dims = {function(x) return lt.batch_norm(x, nil, nil, nil, nil, true) end, {4, 3}},
  batch_norm_in_evaluation = {function(x, w, b)
    local mean, variance = lt.tensor({0.3, 1.2}, {dtype = "float64"}), lt.tensor({0.7, 2}, {dtype = "float64"})
    return lt.batch_norm(x, w, b, mean, variance)
  end, {3, 2, 2}, {2}, {2}},
  layer_norm = {function(x, w, b) return lt.layer_norm(x, {3, 2}, w, b) end, {2, 3, 2}, {3, 2}, {3, 2}},
  layer_norm_without_weight = {function(x) return lt.layer_norm(x, {4}) end, {3, 4}},
  group_norm = {function(x, w, b) return lt.group_norm(x, 2, w, b) end, {2, 4, 3}, {4}, {4}},
  group_norm_of_channels = {function(x, w) return lt.group_norm(x, 2, w) end, {3, 4}, {4}},
  cosine_similarity = {function(a, b) return lt.cosine_similarity(a, b) end, {2, 3}, {1, 3}},
  l1_loss = {function(x, y, w) return lt.l1_loss(x, y + 2, "mean", w) end, {2, 3}, {2, 3}, {2, 3}},
  smooth_l1_loss = {function(x, y) return lt.smooth_l1_loss(x, y + 0.2, "sum", 0.5) end, {2, 3}, {2, 3}},
  huber_loss = {function(x, y) return lt.huber_loss(x, y + 0.2, "none", 0.5) end, {2, 3}, {2, 3}},
  poisson_nll_loss = {function(x, y) return lt.poisson_nll_loss(x, y + 1, true, true) end, {2, 3}, {2, 3}},
  gaussian_nll_loss = {function(x, y, v) return lt.gaussian_nll_loss(x, y, v, true) end, {2, 3}, {2, 3}, {2, 1}},
  kl_div = {function(x, y) return lt.kl_div(x, y, "batchmean") + lt.kl_div(x, y, "sum", true) end, {2, 3}, {2, 3}},
  binary_cross_entropy = {function(x, y, w) return lt.binary_cross_entropy(x / 2, y / 2, w) end, {2, 3}, {2, 3}, {3}},
  binary_cross_entropy_with_logits = {function(x, y, w) return lt.binary_cross_entropy_with_logits(x, y, nil, "sum", w) end, {2, 3}, {2, 3}, {3}},
  margin_ranking_loss = {function(x, y) return lt.margin_ranking_loss(x, y, lt.tensor({1, -1, 1}, {dtype = "float64"}), 0.3) end, {2, 3}, {2, 3}},
  hinge_embedding_loss = {function(x) return lt.hinge_embedding_loss(x, lt.tensor({1, -1, 1}, {dtype = "float64"}), 1.123) end, {2, 3}},
  soft_margin_loss = {function(x, y) return lt.soft_margin_loss(x, y) end, {2, 3}, {2, 3}},
  multilabel_soft_margin_loss = {function(x, y, w) return lt.multilabel_soft_margin_loss(x, y, w) end, {2, 3}, {2, 3}, {3}},
  multilabel_margin_loss = {function(x) return lt.multilabel_margin_loss(x, lt.LongTensor {{1, 0, -1, 2}, {3, -1, 0, 0}}) end, {2, 4}},
  label_margins = {function(x) return ops.label_margins(x, lt.LongTensor {{1, 0, -1, 2}, {3, 3, -1, 0}}) end, {2, 4}},
  multi_margin_loss = {function(x, w) return lt.multi_margin_loss(x, lt.LongTensor {1, 2}, 2, 0.8, w) end, {2, 4}, {4}},
  cosine_embedding_loss = {function(x, y) return lt.cosine_embedding_loss(x, y, lt.tensor({1, -1}, {dtype = "float64"}), 0.1) end, {2, 3}, {2, 3}},
  triplet_margin_loss = {function(a, p, n) return lt.triplet_margin_loss(a, p, n + 0.3, 2, 2, 1e-6, true) end, {2, 3}, {2, 3}, {2, 3}},
  prelu = {function(x, w) return lt.prelu(x - 1, w) end, {2, 3, 2}, {3}},
  glu = {function(x) return lt.glu(x, 1) end, {2, 4}},
  rrelu = {function(x) return lt.rrelu(x - 1, 0.2, 0.4) end, {2, 3}},
  normalize = {function(x) return lt.normalize(x, 3, 0) end, {2, 3}},
  pairwise_distance = {function(a, b) return lt.pairwise_distance(a, b) end, {2, 3}, {3}},
  cdist = {function(a, b) return lt.cdist(a, b, 3) end, {2, 3}, {3, 3}},
  distances = {function(a, b) return ops.distances(a, b + 1) * ops.distances(a, b, 1.5) end, {2, 2, 3}, {2, 3, 3}},
  distances_of_rows_of_signs = {function(a, b) return ops.distances(a, b, 1) + ops.distances(a, b, 0) end, {1, 2, 70}, {1, 3, 70}},
  largest_distances = {function(a, b) return ops.distances(a, b * 1.3, math.huge) end, {1, 2, 3}, {1, 70, 3}},
  euclidean_distance = {function(a, b) return lt.cdist(a, b + 1, 2, "use_mm_for_euclid_dist") end, {2, 2, 3}, {3, 3}},
  pdist = {function(x) return lt.pdist(x) end, {3, 2}},
  pad = {function(x) return x:pad({1, -1, 2, 0}, "constant", 3) end, {2, 3}},
  pad_constant = {function(x) return lt.pad_constant(x, {2, 1, -1, 0}, 2) end, {2, 3}},
  pad_edges_dx = {function(x) return lt.pad_edges_dx(x, {1, 2}, "reflect", {2, 3}) end, {2, 6}},
  pad_edges = {function(x) return x:pad({1, 1}, "reflect") * x:pad({0, 2}, "replicate"):pad({2, 1}, "circular")["..., :5"] end, {2, 3}},
  attention = {function(q, k, v, mask) return lt.attention(q, k, v, mask, 0.7) end, {2, 2, 3, 2}, {2, 1, 4, 2}, {2, 1, 4, 3}, {2, 2, 3, 4}},
  attention_of_the_past = {function(q, k, v) return lt.attention(q, k, v, {is_causal = true, dropout_p = 0.4, seed = 5, offset = 3}) end,
    {1, 4, 3, 2}, {1, 2, 5, 2}, {1, 2, 5, 2}},
  scaled_dot_product_attention = {function(q, k, v)
    return lt.scaled_dot_product_attention(q, k, v, lt.BoolTensor{{true, false, true}, {false, false, false}})
  end, {2, 2, 2}, {1, 3, 2}, {3, 2}},
  scaled_dot_product_attention_past_and_grouped = {function(x, k, v)
    return lt.scaled_dot_product_attention(x:transpose(0, 1), k, v, {is_causal = true, enable_gqa = true, scale = 0.3})
  end, {3, 4, 2}, {2, 4, 2}, {2, 4, 3}},
  lstm_layer = {function(x, h, c, a, b, p, q) return (lt.lstm_layer(x, h, c, nil, a, b, p, q)) end, {3, 2, 2}, {2, 3}, {2, 3}, {12, 2}, {12, 3}, {12}, {12}},
  lstm_layer_last_states = {function(x, h, c, a, b)
    local _, h_n, c_n = lt.lstm_layer(x:transpose(0, 1), h, c, nil, a, b, {reverse = true})
    return h_n * c_n
  end, {2, 3, 2}, {2, 2}, {2, 2}, {8, 2}, {8, 2}},
  lstm_layer_packed_and_projected = {function(x, h, c, a, b, p, q, r)
    local y, h_n, c_n = lt.lstm_layer(x - 1, h - 1, c - 1, SIZES, a - 1, b - 1, p, q, r)
    return lt.cat({y:flatten(), h_n:flatten(), c_n:flatten()})
  end, {6, 2}, {4, 2}, {4, 3}, {12, 2}, {12, 2}, {12}, {12}, {2, 3}},
  gru_layer = {function(x, h, a, b, p, q) return (lt.gru_layer(x, h - 1, nil, a - 1, b - 1, p, q)) end, {3, 2, 2}, {2, 3}, {9, 2}, {9, 3}, {9}, {9}},
  gru_layer_packed_from_the_end = {function(x, h, a, b)
    local y, h_n = lt.gru_layer(x, h, SIZES, a - 1, b - 1, {reverse = true})
    return lt.cat({y, h_n})
  end, {6, 2}, {4, 2}, {6, 2}, {6, 2}},
  rnn_layer = {function(x, h, a, b, p, q) return (lt.rnn_layer(x, h, nil, a - 1, b - 1, p - 1, q - 1)) end, {3, 2, 2}, {2, 3}, {3, 2}, {3, 3}, {3}, {3}},
  rnn_layer_of_relu = {function(x, h, a, b)
    local y, h_n = lt.rnn_layer(x, h, SIZES, a - 1, b - 1, {nonlinearity = "relu", reverse = true})
    return lt.cat({y, h_n})
  end, {6, 2}, {4, 3}, {3, 2}, {3, 3}},
  lstm = {function(x, h, c, ...)
    local y, h_n, c_n = lt.lstm(x, h, c, nil, {...}, {num_layers = 2})
    return lt.cat({y:flatten(), h_n:flatten(), c_n:flatten()})
  end, {2, 2, 2}, {2, 2, 2}, {2, 2, 2}, {8, 2}, {8, 2}, {8, 2}, {8, 2}},
  gru = {function(x, ...) return (lt.gru(x, nil, nil, {...}, {bidirectional = true})) end, {2, 2, 2}, {6, 2}, {6, 2}, {6, 2}, {6, 2}},
  rnn = {function(x, ...) return (lt.rnn(x, nil, nil, {...}, {num_layers = 2})) end, {2, 2, 2}, {2, 2}, {2, 2}, {2, 2}, {2, 2}},
  roll = {function(x) return x:roll({1, -4}, {0, 1}) * x:roll(2) end, {2, 3}},
  mse_loss = {function(x, y) return lt.mse_loss(x, y) end, {2, 3}, {2, 3}},
  cross_entropy = {function(x) return lt.cross_entropy(x, lt.LongTensor {2, 0}, {label_smoothing = 0.1}) end, {2, 3}},
  amin = {function(x) return x:amin(0) end, {3, 2}},
  max_all = {function(x) return x:max() end, {2, 3}},
  min_all = {function(x) return x:min() end, {2, 3}},
  min_dim = {function(x) return (x:min(1)) end, {2, 3}},
  mm = {function(a, b) return a:mm(b) end, {2, 3}, {3, 2}},
  bmm = {function(a, b) return a:bmm(b) end, {2, 2, 3}, {2, 3, 1}},
  baddbmm = {function(c, a, b) return lt.baddbmm(c, a, b, 0.5, 2) end, {2}, {1, 3, 2}, {1, 2, 2}},
  scatter = {function(x, s) return x:scatter(1, lt.LongTensor {{2, 0}}, s) end, {2, 3}, {1, 2}},
  scatter_value = {function(x) return ops.scatter_value(x, 1, lt.LongTensor {{2, 0}}, 3) end, {2, 3}},
  index_add = {function(x, s) return x:index_add(0, lt.LongTensor {1, 1, 0}, s, {alpha = 1.5}) end, {2, 3}, {3, 3}},
  index_put = {function(x, v) return x:index_put({lt.LongTensor {1, 0}}, v) * x:index_put({lt.LongTensor {1, 1}}, v, true) end, {3, 2}, {2, 2}},
  masked_select = {function(x) return x:masked_select(lt.BoolTensor {{true, false, true}, {false, true, false}}) end, {2, 3}},
  masked_scatter = {function(x, s) return x:masked_scatter(lt.BoolTensor {{true, false, true}, {false, true, false}}, s) end, {2, 3}, {4}},
  embedding_dw = {function(dy) return ops.embedding_dw(dy, lt.LongTensor {2, 0, 2}, {rows = 3}) end, {3, 2}},
  sort = {function(x) return (x:sort(0)) * (x:sort(1, true)) end, {3, 4}},
  msort = {function(x) return x:msort() * x end, {3, 4}},
  topk = {function(x) return (x:topk(2)) * (x:topk(2, 1, false)) end, {3, 4}},
  kthvalue = {function(x) return (x:kthvalue(2, 0)) * (x:kthvalue(1, 0)) end, {3, 4}},
  median_all = {function(x) return x:median() * x end, {3, 3}},
  median_dim = {function(x) return (x:median(1, true)) * x end, {3, 4}},
  nanmedian_all = {function(x) return x:nanmedian() * x end, {3, 3}},
  nanmedian_dim = {function(x) return (x:nanmedian(0)) * x end, {3, 4}},
  mode = {function(x) return (x:mode(0)) * x end, {3, 4}},
  quantile = {function(x) return x:quantile(lt.tensor({0.2, 0.7}, {dtype = "float64"}), 1) * x:quantile(0.4) end, {3, 4}},
  nanquantile = {function(x) return x:nanquantile(0.3, 0, true) * x end, {3, 4}},
  cumprod = {function(x) return x:cumprod(0) * x:cumprod(1) end, {3, 4}},
  cumprod_beside_zeros = {function(x) return (x * lt.tensor({{1, 0, 1, 1}, {0, 1, 0, 1}, {1, 1, 1, 1}}, {dtype = "float64"})):cumprod(1) end, {3, 4}},
  cumprod_dx = {function(dy, x) return lt.cumprod_dx(dy, x, 1) end, {2, 3}, {2, 3}},
  cummax = {function(x) return (x:cummax(1)) * x end, {3, 4}},
  cummin = {function(x) return (x:cummin(0)) * x end, {3, 4}},
  logcumsumexp = {function(x) return x:logcumsumexp(1) * x:logcumsumexp(0, true) end, {3, 4}},
  aminmax = {function(x)
    local low, high = x:aminmax({dim = 0})
    return low * high
  end, {3, 4}},
  var_unbiased = {function(x) return x:var(1, false) * x:var({0}, true, true):sum() end, {3, 4}},
  var_of_all = {function(x) return x:var(false) * x end, {3, 4}},
  std_unbiased = {function(x) return x:std(1, false) end, {3, 4}},
  std_of_all = {function(x) return x:std(true) * x end, {3, 4}},
  norm_fro = {function(x) return x:norm("fro") * x:norm("fro", 1) end, {3, 4}},
  float_power = {function(x, y) return lt.float_power(x, y) * lt.float_power(x, 3) end, {2, 3}, {3}},
  div_rounding = {function(x, y) return x:div(y * 3.7, {rounding_mode = "trunc"}) * x end, {2, 3}, {3}},
  round_decimals = {function(x) return x:round({decimals = 0}) * x end, {2, 3}},
  polygamma = {function(x) return lt.polygamma(2, x) * lt.polygamma(0, x) end, {2, 3}},
  nan_to_num = {function(x) return x:nan_to_num() * (x * 1):nan_to_num_(1) end, {2, 3}},
  clamp_tensor = {function(x, low) return x:clamp(low * 0.7, low + 0.3) * (x * 1):clamp_({max = low}) end, {2, 3}, {3}},
  nll_loss = {function(x) return lt.nll_loss(x, lt.LongTensor {2, 0, 1}, {ignore_index = 1}) end, {3, 3}},
  conv2d_dx = {function(dy, w) return ops.conv2d_dx(dy, w, {2, 1}, 1, {size = {1, 2, 4, 3}}) end, {1, 2, 2, 3}, {2, 2, 3, 3}},
  conv2d_dw = {function(x, dy) return ops.conv2d_dw(x, dy, {2, 1}, 1, {size = {2, 2, 3, 3}}) end, {1, 2, 4, 3}, {1, 2, 2, 3}},
  max_pool2d_dx = {function(dy) return ops.max_pool2d_dx(dy, lt.LongTensor {{{5, 2}}}, 2, {size = {1, 2, 4}}) end, {1, 1, 2}},
  avg_pool2d_dx = {function(dy) return ops.avg_pool2d_dx(dy, 2, 1, 1, {size = {1, 1, 3, 3}}) end, {1, 1, 4, 4}},
  dropout = {function(x)
    lt.manual_seed(5)
    return lt.dropout(x, 0.4) * x
  end, {2, 3}},
  seeded_dropout = {function(x) return lt.seeded_dropout(x, 0.4, 5, 7) * x end, {3, 3}},
  view = {function(x) return x:view(3, 2) end, {2, 3}},
  permute = {function(x) return x:permute(2, 0, 1) end, {2, 3, 2}},
  transpose = {function(x) return x:transpose(0, 1) end, {2, 3}},
  expand = {function(x) return x:expand(3, 2, 2) end, {2, 1}},
  select = {function(x) return x:select(1, -1) end, {2, 3}},
  slice = {function(x) return x:slice(1, 0, 3, 2) end, {2, 3}},
  narrow = {function(x) return x:narrow(1, 1, 2) end, {2, 3}},
  unsqueeze = {function(x) return x:unsqueeze(1) end, {2, 3}},
  squeeze = {function(x) return x:squeeze(1) end, {2, 1, 3}},
  diagonal = {function(x) return x:diagonal(1) end, {3, 3}},
  reshape = {function(x) return x:t():reshape(6) end, {2, 3}},
  flatten = {function(x) return x:flatten(1) end, {2, 3, 2}},
  contiguous = {function(x) return x:t():contiguous() end, {2, 3}},
  clone = {function(x) return x:t():clone() end, {2, 3}},
  to = {function(x) return x:to("float64", nil, true) end, {2, 3}},
  copy = {function(x, y) return ops.copy(x, y) end, {2, 3}, {3}},
  as_strided_scatter = {function(x, s) return ops.as_strided_scatter(x, s, {2, 2}, {3, 1}, 1) end, {2, 3}, {2, 2}},
  sum_to_size = {function(x) return x:sum_to_size({1, 3}) end, {2, 3}},
  fill = {function(x) return ops.fill(x, 2) * x end, {2, 3}},
  tril = {function(x) return x:tril(-1) end, {3, 3}},
  triu = {function(x) return x:triu(1) end, {3, 3}},
  views = {function(x) return x:transpose(0, 1):unsqueeze(0)[":, 1:, ::2"]:expand(2, 2, 1):reshape(-1) end, {2, 3}},
  movedim = {function(x) return x:movedim({0, 1}, {2, 0}) end, {2, 3, 2}},
  swapaxes = {function(x) return x:swapaxes(0, -1) end, {2, 3, 2}},
  broadcast_to = {function(x) return x:broadcast_to({3, 2, 2}) end, {2, 1}},
  unfold_dim = {function(x) return x:t():unfold(0, 3, 1) end, {2, 5}},
  diag = {function(x) return x:diag(1):diag(-1) end, {3, 3}},
  diag_embed = {function(x) return x:diag_embed(-1, 0, 2) end, {2, 3}},
  trace = {function(x) return x:trace() end, {2, 3}},
  select_scatter = {function(x, s) return lt.select_scatter(x, s, 1, -1) end, {2, 3}, {2}},
  slice_scatter = {function(x, s) return lt.slice_scatter(x, s, 1, 0, 3, 2) end, {2, 3}, {2, 2}},
  diagonal_scatter = {function(x, s) return lt.diagonal_scatter(x, s, 1) end, {3, 3}, {2}},
  flip = {function(x) return x:flip({0, 2}) end, {2, 3, 2}},
  fliplr = {function(x) return x:fliplr() end, {2, 3}},
  flipud = {function(x) return x:flipud() end, {2, 3}},
  rot90 = {function(x) return x:rot90(1) * x:rot90(-1, {0, 1}) end, {3, 3}},
  index_copy = {function(x, s) return x:index_copy(0, lt.LongTensor {2, 0}, s) end, {3, 2}, {2, 2}},
  index_fill = {function(x, v) return x:index_fill(0, lt.LongTensor {2, 0}, v) end, {3, 2}, {}},
  take = {function(x) return x:take(lt.LongTensor {{0, -1}, {3, 3}}) end, {2, 3}},
  put = {function(x, s) return x:put(lt.LongTensor {0, -2}, s) * x:put(lt.LongTensor {1, 1}, s, true) end, {2, 3}, {2}},
  repeat_interleave = {function(x) return x:repeat_interleave(lt.LongTensor {2, 0, 1}, 1):repeat_interleave(2) end, {2, 3}},
  take_along_dim = {function(x) return x:take_along_dim(lt.LongTensor {{0, 2, 2}}, 1) end, {2, 3}},
  block_diag = {function(x, y) return lt.block_diag(x, y) end, {2, 3}, {2}},
  as_strided = {function(x) return x:as_strided({2, 3}, {1, 1}) end, {4}},
  in_place = {function(x, y)
    local z = x * 1
    z["0"]:add_(y * y)
    return z * z
  end, {2, 3}, {3}},
}

-- What has a first derivative alone is asked for it, and for the refusal of a second one, in nn/ctc_spec.lua.
local once = {ctc_loss = true, ctc_losses = true, ctc_losses_dx = true}

describe("the gradient of", function()
  for name, case in pairs(structured) do
    it(name .. " agrees with finite differences, twice", function()
      local inputs = {}
      for i = 2, #case do inputs[i - 1] = sample({low = 0.3, high = 1.7}, case[i], i):requires_grad_() end
      assert.is_true(gradcheck(case[1], inputs))
      assert.is_true(gradgradcheck(case[1], inputs))
      assert_same_gradients(case[1], inputs)
    end)
  end

  it("no operator is left out", function()
    for _, info in ipairs(ops.list) do
      if not ELEMENTWISE[info.kind] and info.grad ~= 0 then assert.is_truthy(structured[info.name] or once[info.name], info.name) end
    end
  end)
end)
