--- Embedding and EmbeddingBag beyond their cases: errors, empty bags, kinds of indices, gradients that are row-sparse.

local lt = require("lunette")
local checks = require("spec.nn.checks")
local nn, F = lt.nn, lt.nn.functional
local refuses, ids = checks.refuses, lt.LongTensor

local table_of = function() return checks.double(5, 3) end

describe("embedding_bag", function()
  it("is 0 for a bag without rows, and gives those no gradient", function()
    for _, mode in ipairs{"sum", "mean", "max"} do
      local w = table_of()
      local y = F.embedding_bag(ids{1, 4}, w, ids{0, 0, 2, 2}, {mode = mode})
      assert.are.same({0, 0, 0}, y[0]:tolist())
      assert.are.same({0, 0, 0}, y[3]:tolist())
      y["0::2"]:sum():backward()
      assert.are.equal(0, w.grad:abs():sum():item())
      assert.are.same({0, 3}, checks.shape(F.embedding_bag(ids{}, w, ids{}, {mode = mode})))
      assert.are.same({2, 3}, checks.shape(F.embedding_bag(ids{}, w, ids{0, 0}, {mode = mode})))
      assert.are.same({0, 3}, checks.shape(F.embedding_bag(lt.zeros(0, 4, {dtype = "int64"}), w, {mode = mode})))
      assert.are.same({{0, 0, 0}}, F.embedding_bag(lt.zeros(1, 0, {dtype = "int64"}), w, {mode = mode}):tolist())
      assert.are.same({{0, 0, 0}}, F.embedding_bag(ids{2, 2}, w, ids{0}, {mode = mode, padding_idx = 2}):tolist())
      local none = lt.zeros(0, 3, {requires_grad = true})
      F.embedding_bag(ids{}, none, ids{0, 0}, {mode = mode}):sum():backward()
      assert.are.same({0, 3}, checks.shape(none.grad))
    end
  end)

  it("takes int32, and a mixture", function()
    local w, index, offsets = table_of(), ids{0, 4, 4, 1}, ids{0, 1}
    local want = F.embedding_bag(index, w, offsets)
    assert.is_true(lt.equal(want, F.embedding_bag(index:int(), w, offsets:int())))
    assert.is_true(lt.equal(want, F.embedding_bag(index, w, offsets:int())))
  end)

  it("leaves out what stands behind the last offset", function()
    local w, factors = table_of(), checks.double(5)
    local options = {mode = "sum", include_last_offset = true, per_sample_weights = factors}
    local y = F.embedding_bag(ids{0, 4, 2, 3, 3}, w, ids{0, 1, 3}, options)
    assert.is_true(lt.allclose(y[1], w[4] * factors[1] + w[2] * factors[2]))
    y:sum():backward()
    assert.are.same({0, 0}, factors.grad["3:"]:tolist())
    assert.are.equal(0, w.grad[3]:abs():sum():item())
    assert.are.same({0, 3}, checks.shape(F.embedding_bag(ids{0}, w, ids{0}, {include_last_offset = true})))
  end)

  it("agrees with rows that are gathered, over strided tables and many columns", function()
    local w = checks.double(200, 6):t()
    assert.is_false(w:is_contiguous())
    local index = ids{{0, 5, 5, 2}, {1, 1, 3, 0}}
    assert.is_true(lt.allclose(F.embedding_bag(index, w, {mode = "sum"}), F.embedding(index, w):sum(1)))
    assert.is_true(lt.allclose(F.embedding_bag(index, w), F.embedding(index, w):mean(1)))
    assert.is_true(lt.equal(F.embedding_bag(index, w, {mode = "max"}), (F.embedding(index, w):max(1))))
  end)

  it("gives the same gradient on any number of threads", function()
    local index, former, want = lt.randint(0, 50, {64, 40}), lt.get_num_threads(), nil
    for _, threads in ipairs{1, 2, 3} do
      lt.set_num_threads(threads)
      local w = (lt.arange(50 * 64) * 0.37):sin():reshape(50, 64):requires_grad_()
      local y = F.embedding_bag(index, w)
      y:square():sum():backward()
      want = want or w.grad
      assert.is_true(lt.equal(want, w.grad))
    end
    lt.set_num_threads(former)
  end)

  it("counts a negative padding_idx from the end, as embedding does", function()
    local w, index = table_of(), ids{{0, 4}, {4, 2}}
    assert.is_true(lt.equal(F.embedding_bag(index, w, {padding_idx = 4}), F.embedding_bag(index, w, {padding_idx = -1})))
    assert.is_true(lt.equal(F.embedding_bag(index, w, {padding_idx = -1})[0], w[0]))
    F.embedding(index, w, -1):sum():backward()
    assert.are.equal(0, w.grad[4]:abs():sum():item())
  end)

  it("refuses what does not go together", function()
    local w = table_of()
    refuses("embedding_bag: offsets must be given for indices of shape {2}", function() F.embedding_bag(ids{0, 1}, w) end)
    refuses("embedding_bag: offsets must be given for indices of shape {1, 1, 1}", function() F.embedding_bag(ids{{{0}}}, w) end)
    refuses("offsets go with a vector of indices, not with shape {1, 2}", function() F.embedding_bag(ids{{0, 1}}, w, ids{0}) end)
    refuses("offsets must be a vector, not of shape {1, 1}", function() F.embedding_bag(ids{0, 1}, w, ids{{0}}) end)
    refuses("offsets must be int64, got float32", function() F.embedding_bag(ids{0, 1}, w, lt.tensor{0}) end)
    refuses("offsets must begin with 0, the first bag with the first index, not with 1", function() F.embedding_bag(ids{0, 1}, w, ids{1}) end)
    refuses("offsets must not exceed the number of indices, 2: entry 1 is 3", function() F.embedding_bag(ids{0, 1}, w, ids{0, 3}) end)
    refuses("offsets must not decrease: entry 2 is 1, after 2", function() F.embedding_bag(ids{0, 1}, w, ids{0, 2, 1}) end)
    refuses("there must be one offset at least", function() F.embedding_bag(ids{0, 1}, w, ids{}, {include_last_offset = true}) end)
    refuses("include_last_offset goes with offsets", function() F.embedding_bag(ids{{0, 1}}, w, {include_last_offset = true}) end)
    refuses("per_sample_weights go with mode \"sum\" alone", function() F.embedding_bag(ids{{0}}, w, {per_sample_weights = checks.double(1, 1)}) end)
    refuses("per_sample_weights {2} must have the shape of the indices, {1, 2}",
      function() F.embedding_bag(ids{{0, 1}}, w, {mode = "sum", per_sample_weights = checks.double(2)}) end)
    refuses("per_sample_weights must be float64, as weight is, not float32",
      function() F.embedding_bag(ids{{0}}, w, {mode = "sum", per_sample_weights = lt.ones(1, 1)}) end)
    refuses("mode \"max\" does not scale gradients by frequency", function() F.embedding_bag(ids{{0}}, w, {mode = "max", scale_grad_by_freq = true}) end)
    refuses("mode \"max\" has no sparse gradients", function() F.embedding_bag(ids{{0}}, w, {mode = "max", sparse = true}) end)
    refuses("embedding_bag: index 5 is out of bounds for dimension 0 with size 5", function() F.embedding_bag(ids{{5}}, w) end)
    refuses("embedding_bag: ids must be int64, not float32", function() F.embedding_bag(lt.tensor{{0}}, w) end)
    refuses("embedding_bag: padding_idx -6 is out of range for 5 rows", function() F.embedding_bag(ids{{0}}, w, {padding_idx = -6}) end)
    refuses("embedding_bag: weight must have 2 dimensions, not shape {5}", function() F.embedding_bag(ids{{0}}, checks.double(5)) end)
    refuses("must be one of \"sum\", \"mean\", \"max\"", function() F.embedding_bag(ids{{0}}, w, {mode = "min"}) end)
    refuses("EmbeddingBag: padding_idx 5 is out of range for 5 embeddings", function() nn.EmbeddingBag(5, 2, {padding_idx = 5}) end)
    refuses("EmbeddingBag: _weight has shape {2, 2}, not {5, 2}", function() nn.EmbeddingBag(5, 2, {_weight = lt.ones(2, 2)}) end)
    refuses("the embeddings must have 2 dimensions", function() nn.EmbeddingBag:from_pretrained(lt.ones(2)) end)
  end)
end)

describe("EmbeddingBag", function()
  it("is made from rows that are given, frozen unless told otherwise", function()
    local rows = lt.tensor{{1, 2}, {3, 4}}
    local bags = nn.EmbeddingBag:from_pretrained(rows, {mode = "sum"})
    assert.is_false(bags.weight.requires_grad)
    assert.are.same({{4, 6}}, bags(ids{{0, 1}}):tolist())
    assert.is_true(nn.EmbeddingBag:from_pretrained(rows, false).weight.requires_grad)
    assert.are.equal("EmbeddingBag(2, 2, mode='sum')", tostring(bags))
  end)

  it("takes a table as it is, also an Embedding", function()
    for _, name in ipairs{"EmbeddingBag", "Embedding"} do
      local rows = lt.tensor{{1, 2}, {3, 4}}
      local layer = nn[name](2, 2, {_weight = rows, padding_idx = 0})
      assert.are.same({{1, 2}, {3, 4}}, layer.weight:tolist())
      rows:fill_(5)
      assert.are.same({5, 5}, layer.weight[0]:tolist())
    end
  end)

  it("starts with zeros in the row of padding", function()
    assert.are.same({0, 0}, nn.EmbeddingBag(3, 2, {padding_idx = -1}).weight[2]:tolist())
  end)
end)

describe("scale_grad_by_freq", function()
  it("divides the gradient by how often an id occurs, also in a graph that is differentiated", function()
    for _, fn in ipairs{F.embedding, F.embedding_bag} do
      local grads = {}
      for i, create_graph in ipairs{false, true} do
        local w = table_of()
        local y = fn(ids{{0, 4, 4}, {1, 4, 2}}, w, {scale_grad_by_freq = true}):square():sum()
        grads[i] = lt.autograd.grad(y, w, {create_graph = create_graph})[1]
      end
      local w = table_of()
      fn(ids{{0, 4, 4}, {1, 4, 2}}, w):square():sum():backward()
      local counts = lt.tensor({{1}, {1}, {1}, {1}, {3}}, {dtype = "float64"})
      assert.is_true(lt.allclose(grads[1], w.grad / counts))
      assert.is_true(lt.allclose(grads[1], grads[2]:detach()))
    end
  end)
end)

describe("max_norm", function()
  it("shortens rows that are looked up, in place, and is not differentiated", function()
    local w = lt.tensor({{3, 4}, {0.3, 0.4}, {30, 40}}, {requires_grad = true})
    local y = F.embedding(ids{0, 1, 0}, w, {max_norm = 1})
    assert.is_true(lt.allclose(w:detach(), lt.tensor{{0.6, 0.8}, {0.3, 0.4}, {30, 40}}))
    y:sum():backward()
    assert.are.same({{2, 2}, {1, 1}, {0, 0}}, w.grad:tolist())
  end)
end)

-- Row-sparse gradients -----------------------------------------------------------------------------------------------------------------------

-- An embedding whose gradient is row-sparse, after backward over some ids; and the same dense.
local function both(index, options)
  local out = {}
  for i, sparse in ipairs{true, false} do
    local e = nn.Embedding(4, 2, lt.merge({sparse = sparse, _weight = lt.arange(8):reshape(4, 2)}, options or {}))
    e(index):square():sum():backward()
    out[i] = e
  end
  return out[1], out[2]
end

describe("a row-sparse gradient", function()
  it("holds the rows that were looked up and is the dense one", function()
    local sparse, dense = both(ids{{1, 3}, {1, 0}})
    local g = sparse.weight.grad
    assert.is_true(g.is_sparse)
    assert.is_false(dense.weight.grad.is_sparse)
    assert.are.same({{1, 3, 1, 0}}, g:_indices():tolist())
    assert.are.equal(4, g:_nnz())
    assert.is_false(g:is_coalesced())
    assert.is_true(lt.equal(dense.weight.grad, g:to_dense()))
    local c = g:coalesce()
    assert.are.same({{0, 1, 3}}, c:indices():tolist())
    assert.is_true(c:is_coalesced() and c:coalesce() == c)
    assert.is_true(lt.equal(dense.weight.grad:index_select(0, ids{0, 1, 3}), c:values()))
    assert.is_true(lt.equal(dense.weight.grad, c:to_dense()))
    assert.are.same({4, 2}, checks.shape(g))
    assert.are.equal(8, g:numel())
    refuses("values: the tensor is not coalesced; call :coalesce() first", function() g:values() end)
    refuses("a SparseTensor has no 'clamp_'; to_dense() makes it a tensor that has all", function() g:clamp_(0, 1) end)
  end)

  it("leaves padding out", function()
    local sparse, dense = both(ids{1, 3, 1, 0}, {padding_idx = 1})
    assert.are.same({{3, 0}}, sparse.weight.grad:_indices():tolist())
    assert.is_true(lt.equal(dense.weight.grad, sparse.weight.grad:to_dense()))
  end)

  it("of bags is the dense one", function()
    local factors = lt.tensor{0.5, 2, -1, 3, 1}
    for _, options in ipairs{{mode = "sum"}, {mode = "mean"}, {mode = "mean", padding_idx = 2}, {mode = "sum", per_sample_weights = factors},
      {mode = "sum", per_sample_weights = factors, include_last_offset = true}} do
      local grads, of_factors = {}, {}
      for i, sparse in ipairs{true, false} do
        local w = lt.arange(8):reshape(4, 2):requires_grad_()
        local own = options.per_sample_weights and factors:clone():requires_grad_()
        F.embedding_bag(ids{0, 2, 2, 1, 3}, w, ids{0, 2, 4}, lt.merge(options, {sparse = sparse, per_sample_weights = own})):square():sum():backward()
        grads[i], of_factors[i] = w.grad, own and own.grad
      end
      assert.is_true(lt.allclose(grads[2], grads[1]:to_dense()))
      if of_factors[1] then assert.is_true(lt.equal(of_factors[1], of_factors[2])) end
    end
  end)

  it("grows by joining, and becomes dense where a dense one meets it", function()
    local e = nn.Embedding(4, 2, {sparse = true})
    e(ids{1}):sum():backward()
    e(ids{1, 2}):sum():backward()
    assert.are.same({{1, 1, 2}}, e.weight.grad:_indices():tolist())
    local loss = e(ids{3}):sum() + e(ids{0}):sum()
    loss:backward()
    assert.are.equal(5, e.weight.grad:_nnz())
    e.weight:sum():backward()
    assert.are.same({{2, 2}, {3, 3}, {2, 2}, {2, 2}}, e.weight.grad:tolist())
    e(ids{1}):sum():backward()
    assert.are.same({{2, 2}, {4, 4}, {2, 2}, {2, 2}}, e.weight.grad:tolist())
    e.weight.grad = nil
    loss = e(ids{1}):sum() + e.weight[2]:sum() + e.weight:square():sum() * 0
    loss:backward()
    assert.are.same({{0, 0}, {1, 1}, {1, 1}, {0, 0}}, e.weight.grad:tolist())
  end)

  it("is emptied by zero_grad, or dropped", function()
    local e = both(ids{1, 3})
    local kept = e.weight.grad
    e:zero_grad()
    assert.are.equal(0, e.weight.grad:_nnz())
    assert.are.equal(0, e.weight.grad:to_dense():abs():sum():item())
    assert.are.equal(2, kept:_nnz())
    e(ids{2}):sum():backward()
    assert.are.same({{2}}, e.weight.grad:_indices():tolist())
    e:zero_grad{set_to_none = true}
    assert.is_nil(e.weight.grad)
  end)

  it("comes to hooks and from autograd.grad, and can be set", function()
    local e = both(ids{1, 3})
    e.weight.grad = nil
    local handle = e.weight:register_hook(function(g) return g:mul(2) end)
    e(ids{1, 1}):sum():backward()
    assert.are.same({{0, 0}, {4, 4}, {0, 0}, {0, 0}}, e.weight.grad:to_dense():tolist())
    handle:remove()
    e.weight:register_hook(function(g) return g:to_dense() end)
    e.weight.grad = nil
    e(ids{1, 1}):sum():backward()
    assert.are.same({{0, 0}, {2, 2}, {0, 0}, {0, 0}}, e.weight.grad:tolist())
    local other = both(ids{1})
    local g = lt.autograd.grad(other(ids{2, 2}):sum(), other.weight)[1]
    assert.are.same({{2, 2}}, g:_indices():tolist())
    other.weight.grad = g:coalesce()
    assert.is_true(other.weight.grad:is_coalesced())
    refuses("cannot have shape", function() lt.ones(3, 2, {requires_grad = true}).grad = g end)
    refuses("grad: a tensor or nil is expected, got a module Embedding", function() other.weight.grad = other end)
  end)

  it("is dense where the graph is to be differentiated again", function()
    local w = lt.arange(8):reshape(4, 2):requires_grad_()
    local g = lt.autograd.grad(F.embedding(ids{1, 1}, w, {sparse = true}):square():sum(), w, {create_graph = true})[1]
    assert.is_false(g.is_sparse)
    g:sum():backward()
    assert.are.same({{0, 0}, {4, 4}, {0, 0}, {0, 0}}, w.grad:to_dense():tolist())
  end)

  it("is copied with its parameter, converted with its module and clipped", function()
    local e = both(ids{1, 3, 1})
    local total = e.weight.grad:to_dense():norm():item()
    assert.are.near(total, nn.utils.clip_grad_norm_(e:parameters(), 1):item(), 1e-4)
    assert.are.near(1, e.weight.grad:norm():item(), 1e-4)
    local copy = lt.deepcopy(e)
    e.weight.grad:mul_(0)
    assert.are.near(1, copy.weight.grad:norm():item(), 1e-4)
    copy:double()
    assert.are.equal("float64", copy.weight.grad.dtype)
    assert.are.near(1, copy.weight.grad:clone():norm():item(), 1e-4)
    assert.are.equal(0, copy.weight.grad:zero_():_nnz())
  end)

  it("prints as PyTorch's does", function()
    local e = nn.Embedding(4, 2, {sparse = true, device = "cpu"})
    e(ids{1, 3}:cpu()):sum():backward()
    local text = "tensor(indices=tensor([[1, 3]]),\n       values=tensor([[1., 1.],\n                      [1., 1.]]),\n       size=(4, 2), nnz=2, "
    assert.are.equal(text .. "layout=torch.sparse_coo)", tostring(e.weight.grad))
    e:double()
    assert.are.equal(text .. "dtype=torch.float64, layout=torch.sparse_coo)", tostring(e.weight.grad))
    e:zero_grad()
    assert.are.equal("tensor(indices=tensor([], size=(1, 0)),\n       values=tensor([], size=(0, 2)),\n       size=(4, 2), nnz=0, dtype=torch.float64, "
      .. "layout=torch.sparse_coo)", tostring(e.weight.grad))
  end)

  it("is refused where it cannot be", function()
    refuses("embedding: sparse gradients are not scaled by frequency", function() nn.Embedding(3, 2, {sparse = true, scale_grad_by_freq = true})(ids{0}) end)
    refuses("SparseTensor: it is made by backward alone", function() lt.SparseTensor() end)
    local g = both(ids{1}).weight.grad
    assert.is_true(lt.isinstance(g, lt.SparseTensor))
    refuses("a SparseTensor cannot be indexed; to_dense() makes it a tensor", function() return g[0] end)
    refuses("a SparseTensor cannot be assigned to: 'shape'", function() g.shape = 3 end)
    refuses("add: argument 'input' must be a tensor or a number, got a SparseTensor", function() lt.add(g, 1) end)
    refuses("save: g is no tensor but a SparseTensor", function() lt.save({g = g}, os.tmpname() .. ".safetensors") end)
    local copy = lt.deepcopy{g}[1]
    g:mul_(0)
    assert.is_true(copy:to_dense():abs():sum():item() > 0)
  end)
end)
