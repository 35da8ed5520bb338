--- Connectionist temporal classification. Its cases beside PyTorch are in fixtures/layers/loss.txt.

local lt = require("lunette")
local checks = require("spec.nn.checks")
local nn, F = lt.nn, lt.nn.functional
local long, refuses = lt.LongTensor, checks.refuses

-- Log-probabilities [T, N, C] of float64, of logits that differ.
local function log_probs(...) return checks.double(...):mul(3):log_softmax(-1):detach() end

-- What a path reads as: without repetitions, then without blanks.
local function read(path, blank)
  local out, last = {}, nil
  for _, class in ipairs(path) do
    if class ~= last and class ~= blank then out[#out + 1] = class end
    last = class
  end
  return table.concat(out, " ")
end

-- The loss of a sequence, rows of log-probabilities, by going over all paths.
local function by_paths(rows, target, blank)
  local wanted, total, path = table.concat(target, " "), 0, {}
  local function go(t, sum)
    if t > #rows then
      if read(path, blank) == wanted then total = total + math.exp(sum) end
      return
    end
    for class = 0, #rows[t] - 1 do
      path[t] = class
      go(t + 1, sum + rows[t][class + 1])
    end
    path[t] = nil
  end
  go(1, 0)
  return -math.log(total)
end

local function assert_near(want, got) assert.is_true(math.abs(want - got) < 1e-9 * (1 + math.abs(want)), ("%.12g, expected %.12g"):format(got, want)) end

describe("ctc_loss", function()
  it("is -log of the probability of all paths that read as the labels", function()
    for _, case in ipairs{{5, {1, 2}, 0}, {5, {1, 1}, 0}, {4, {2, 1, 2}, 0}, {4, {}, 0}, {5, {0, 1}, 2}, {3, {1}, 0}, {5, {1, 1, 1}, 0}} do
      local steps, target, blank = unpack(case)
      local x = log_probs(steps, 1, 3)
      local got = F.ctc_loss(x, long(target):reshape(1, #target), {steps}, {#target}, blank, "sum"):item()
      assert_near(by_paths(x:select(1, 0):tolist(), target, blank), got)
    end
  end)

  it("has the gradient that finite differences show, behind log_softmax", function()
    local targets = long{{1, 2, 1}, {3, 3, -1}, {2, 0, 7}}
    for _, reduction in ipairs{"none", "sum", "mean"} do
      assert.is_true(lt.autograd.gradcheck(function(x)
        return F.ctc_loss(x:log_softmax(-1), targets, {7, 5, 3}, {3, 2, 1}, 0, reduction)
      end, {checks.double(7, 3, 4)}))
    end
    assert.is_true(lt.autograd.gradcheck(function(x) return F.ctc_loss(x:log_softmax(-1), long{1, 2}, {4}, {2}, {blank = 3}) end, {checks.double(4, 4)}))
  end)

  it("is not differentiated twice, and says so", function()
    local x = checks.double(4, 1, 3)
    local g = lt.autograd.grad(F.ctc_loss(x:log_softmax(-1), long{{1, 2}}, {4}, {2}), x, {create_graph = true})[1]
    assert.is_true(g.requires_grad)
    refuses("the gradient of ctc_loss cannot be differentiated again", function() return g:sum():backward() end)
  end)

  it("takes padded and concatenated labels, lengths of every kind, and one sequence without a batch", function()
    local x = log_probs(6, 2, 4)
    local want = F.ctc_loss(x, long{{1, 2, 3}, {3, 1, 0}}, {6, 5}, {3, 2}):item()
    assert.are.equal(want, F.ctc_loss(x, long{{1, 2, 3}, {3, 1, -1}}, lt.Size{6, 5}, lt.Size{3, 2}):item())
    assert.are.equal(want, F.ctc_loss(x, long{1, 2, 3, 3, 1}, long{6, 5}, long{3, 2}):item())
    assert.are.equal(want, F.ctc_loss(x, long{{1, 2, 3}, {3, 1, 99}}, long{6, 5}:to("cpu"), lt.tensor({3, 2}, {dtype = "uint8"})):item())
    assert.are.equal(want, F.ctc_loss(x, lt.tensor({1, 2, 3, 3, 1}, {dtype = "int32"}), lt.tensor({6, 5}, {dtype = "int32"}), {3, 2}):item())
    assert.are.equal(want, F.ctc_loss{log_probs = x, targets = long{1, 2, 3, 3, 1}, input_lengths = {6, 5}, target_lengths = {3, 2}}:item())
    local alone = F.ctc_loss(x:select(1, 0), long{1, 2, 3}, {6}, {3}, {reduction = "none"})
    assert.are.same({}, checks.shape(alone))
    assert.are.equal(alone:item(), F.ctc_loss(x["..., :1, :"], long{{1, 2, 3}}, {6}, {3}, {reduction = "sum"}):item())
    assert.are.equal(alone:item(), F.ctc_loss(x:select(1, 0), long{1, 2, 3}, lt.tensor(6, {dtype = "int64"}), lt.tensor(3, {dtype = "int64"}), 0, "none"):item())
  end)

  it("divides each loss by its labels, one at least, for the mean", function()
    local x = log_probs(5, 3, 4)
    local targets, steps, labels = long{{1, 2}, {3, 1}, {0, 0}}, {5, 4, 3}, {2, 1, 0}
    local each = F.ctc_loss(x, targets, steps, labels, {reduction = "none"}):tolist()
    assert_near((each[1] / 2 + each[2] + each[3]) / 3, F.ctc_loss(x, targets, steps, labels):item())
    assert_near(each[1] + each[2] + each[3], F.ctc_loss(x, targets, steps, labels, {reduction = "sum"}):item())
    assert_near(-x:select(1, 2)[":3, 0"]:sum():item(), each[3])
  end)

  it("is infinite where no path fits, with a gradient that is NaN, unless zero_infinity makes both 0", function()
    local function run(zero_infinity)
      local x = checks.double(3, 3, 4)
      local y = F.ctc_loss(x:log_softmax(-1), long{{1, 1}, {1, 2}, {3, 2}}, {2, 0, 3}, {2, 2, 2}, {reduction = "none", zero_infinity = zero_infinity})
      y:sum():backward()
      return y:tolist(), x.grad
    end
    local y, dx = run(false)
    assert.are.equal(math.huge, y[1])
    assert.are.equal(math.huge, y[2])
    assert.is_true(dx:select(1, 0)[":2"]:isnan():all():item())
    assert.are.equal(0, dx:select(1, 0)["2"]:abs():sum():item())
    assert.are.equal(0, dx:select(1, 1):abs():sum():item())
    local zero, zero_dx = run(true)
    assert.are.same({0, 0, y[3]}, zero)
    assert.are.equal(0, zero_dx[":, :2"]:abs():sum():item())
    assert.is_true(lt.equal(dx:select(1, 2), zero_dx:select(1, 2)))
  end)

  it("without steps is 0 for no labels", function()
    local x = log_probs(2, 2, 3):requires_grad_()
    local y = F.ctc_loss(x, lt.zeros({0}, {dtype = "int64"}), {0, 2}, {0, 0}, {reduction = "none"})
    assert_near(0, y[0]:item())
    y:sum():backward()
    assert.are.equal(0, x.grad:select(1, 0):abs():sum():item())
    assert_near(y[1]:item(), F.ctc_loss(x, lt.zeros({2, 0}, {dtype = "int64"}), {0, 2}, {0, 0}, {reduction = "sum"}):item())
  end)

  it("keeps a class that cannot be from making other gradients NaN", function()
    local x = lt.zeros(3, 1, 4):log_softmax(-1)
    x["1, 0, 1:3"] = -math.huge
    x:requires_grad_()
    F.ctc_loss(x, long{{1, 3}}, {3}, {2}):backward()
    assert.is_true(x.grad:isfinite():all():item())
    x = lt.zeros(3, 1, 4):log_softmax(-1)
    x["1, 0, 3"] = 0 / 0
    assert.is_true(F.ctc_loss(x, long{{1, 3}}, {3}, {2}):isnan():item())
  end)

  it("is the same in every layout and on any number of threads", function()
    local x = lt.randn(40, 9, 11):log_softmax(-1)
    local targets, steps, labels = lt.randint(0, 11, {9, 12}), {40, 39, 30, 25, 40, 12, 3, 1, 0}, {12, 11, 3, 12, 0, 7, 2, 1, 0}
    local function run(t)
      local leaf = t:detach():requires_grad_()
      local y = F.ctc_loss(leaf, targets, steps, labels, {reduction = "none", zero_infinity = true})
      y:sum():backward()
      return y:detach(), leaf.grad:contiguous()
    end
    local y, dx = run(x)
    for _, t in ipairs{x:transpose(0, 1):contiguous():transpose(0, 1), x:permute(2, 0, 1):contiguous():permute(1, 2, 0), lt.cat({x, x}, 2)["..., :11"]} do
      local other, other_dx = run(t)
      assert.is_true(lt.equal(y, other))
      assert.is_true(lt.equal(dx, other_dx))
    end
    local threads = lt.get_num_threads()
    lt.set_num_threads(1)
    local alone, alone_dx = run(x)
    lt.set_num_threads(threads)
    assert.is_true(lt.equal(y, alone))
    assert.is_true(lt.equal(dx, alone_dx))
  end)

  it("keeps its digits over long sequences of float32", function()
    local x = lt.randn(600, 2, 20):log_softmax(-1)
    local targets = lt.randint(1, 20, {2, 100})
    local function run(t)
      local leaf = t:detach():requires_grad_()
      local y = F.ctc_loss(leaf, targets, {600, 500}, {100, 90})
      y:backward()
      return y:item(), leaf.grad
    end
    local wide, wide_dx = run(x:double())
    local y, dx = run(x)
    assert.is_true(math.abs(wide - y) < 1e-5 * wide)
    assert.is_true((dx:double() - wide_dx):abs():max():item() < 1e-5)
  end)

  it("refuses what does not fit, with the numbers", function()
    local x, targets = log_probs(6, 2, 4), long{{1, 2}, {3, 1}}
    local empty = lt.zeros({0, 2}, {dtype = "int64"})
    for _, case in ipairs{
      {"log_probs must have 3 dimensions, {T, N, C}, or 2 without a batch, got shape {4}", x[{0, 0}], targets, {6, 5}, {2, 1}},
      {"log_probs must be float32 or float64, got float16", x:half(), targets, {6, 5}, {2, 1}},
      {"log_probs must be of a floating dtype, got int64", x:long(), targets, {6, 5}, {2, 1}},
      {"log_probs must not be empty, got shape {6, 0, 4}", x[":, :0"], empty, {}, {}},
      {"targets must be int64, not float32", x, targets:float(), {6, 5}, {2, 1}},
      {"targets must have the shape {N, S} of 2 sequences, or hold the labels of all one after another, got shape {1, 2}", x, targets["0:1"], {6, 5}, {2, 1}},
      {"target_lengths add up to 3, but targets of one dimension hold 4 labels", x, targets:flatten(), {6, 5}, {2, 1}},
      {"target_lengths must lie between 0 and 2, the width of targets, got 3 for sequence 1", x, targets, {6, 5}, {2, 3}},
      {"target_lengths must lie between 0 and 2, the width of targets, got -1 for sequence 0", x, targets, {6, 5}, {-1, 2}},
      {"input_lengths must lie between 0 and 6, the steps of log_probs, got 7 for sequence 0", x, targets, {7, 5}, {2, 1}},
      {"input_lengths must lie between 0 and 6, the steps of log_probs, got -1 for sequence 1", x, targets, {6, -1}, {2, 1}},
      {"input_lengths must have a number for each of 2 sequences, got shape {1}", x, targets, {6}, {2, 1}},
      {"target_lengths must have a number for each of 2 sequences, got shape {3}", x, targets, {6, 5}, {2, 1, 1}},
      {"input_lengths must be a tensor, an array or a Size of whole numbers, one for each sequence, got the array {6, 5.5}", x, targets, {6, 5.5}, {2, 1}},
      {"target_lengths must be a tensor, an array or a Size of whole numbers, one for each sequence, got 2", x, targets, {6, 5}, 2},
      {"input_lengths must be int64, not float32", x, targets, lt.tensor{6, 5}, {2, 1}},
      {"blank must be one of the classes 0 to 3, got 4", x, targets, {6, 5}, {2, 1}, 4},
      {"blank must be one of the classes 0 to 3, got -1", x, targets, {6, 5}, {2, 1}, -1},
      {"4", x, long{{1, 4}, {3, 1}}, {6, 5}, {2, 1}},
      {"-1", x, long{{1, -1}, {3, 1}}, {6, 5}, {2, 1}},
      {"reduction", x, targets, {6, 5}, {2, 1}, 0, "average"},
    } do
      refuses(case[1], function() return F.ctc_loss(unpack(case, 2)) end)
    end
    local net = nn.Sequential(nn.CTCLoss())
    refuses("CTCLoss: argument 'targets' must be a tensor", function() return net[0](x, {1, 2}, {6, 5}, {2, 1}) end)
    refuses("must be a contiguous int64 vector on the cpu", function() return lt.ctc_loss(x, targets, lt.ones(2), long{2, 1}) end)
    refuses("alpha must have the shape {2, 6, 7}", function()
      return lt.ctc_losses_dx(lt.ones(2), x, targets, long{6, 5}:to("cpu"), long{2, 1}:to("cpu"), lt.ones(2, 6, 6))
    end)
  end)
end)
