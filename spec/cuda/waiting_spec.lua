--- When the host waits for a device, and what it is told then.

local lt = require("lunette")
local nn, F = lt.nn, lt.nn.functional

if not lt.cuda.is_available() then
  describe("the host", function() pending("waits for a device only where it must: no CUDA device is available") end)
  return
end

local here = {device = "cuda:0"}
local LATER = "; found when cuda:0 was waited for, what was computed from it is not valid"

local function longs(...) return lt.tensor({...}, {dtype = "int64", device = "cuda:0"}) end

local function message_of(f, ...)
  local ok, message = pcall(f, ...)
  assert.is_false(ok)
  return (message:gsub("^[^:]*:%d+: ", ""))
end

-- How often the stand-in was waited for; a GPU does not tell.
local function waits() return tonumber(lt.cuda.libraries():match("waited for (%d+) times")) end

local function net()
  return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 8),
    nn.Linear(8, 3)):to("cuda")
end

describe("the host does not wait", function()
  local function steps(model, optimizer, loss_of)
    for _, set_to_none in ipairs {true, false, true} do
      optimizer:zero_grad(set_to_none)
      loss_of(model):backward()
      optimizer:step()
    end
  end

  if not waits() then
    pending("in a training step: a GPU does not tell how often it was waited for")
    return
  end

  it("in a training step of convolutions", function()
    local model, x, y = net(), lt.rand(4, 1, 6, 6, here), longs(0, 1, 2, 0)
    local before = waits()
    for _, optimizer in ipairs {lt.optim.SGD(model:parameters(), {lr = 0.1, momentum = 0.9}), lt.optim.Adam(model:parameters()),
                                lt.optim.AdamW(model:parameters(), {amsgrad = true})} do
      steps(model, optimizer, function(m) return F.cross_entropy(m(x):layer_norm {3}, y, {label_smoothing = 0.1, ignore_index = 2}) end)
    end
    assert.are.equal(before, waits())
  end)

  it("in a training step of embeddings, indices and divisions", function()
    local model = nn.Embedding(5, 3, {padding_idx = 0}):to("cuda")
    local ids, columns = longs(1, 4, 0, 1), longs(2, 0, 1, 1)
    local before = waits()
    steps(model, lt.optim.SGD(model:parameters(), {lr = 0.1}), function(m)
      local rows = m(ids:floor_divide(columns:clamp(1)))
      local some = rows[{columns, columns}] + rows:gather(1, columns:reshape(4, 1)):sum(1) + rows:index_select(0, columns):sum(1)
      return some:masked_fill(some:gt(1), 0):sum() + lt.zeros(4, here):scatter_add(0, columns, some):mean() + lt.full({4}, 2, here):sum()
    end)
    assert.are.equal(before, waits())
  end)

  it("for a fill, in any dtype and layout", function()
    local before = waits()
    for _, dtype in ipairs {"float32", "float64", "float16", "bfloat16", "int8", "int64", "bool"} do
      local t = lt.empty(3, 4, {dtype = dtype, device = "cuda:0"})
      t:fill_(1):zero_()
      t[":, ::2"]:fill_(1)
      t:t()["1"]:zero_()
      lt.ones_like(t)
    end
    assert.are.equal(before, waits())
  end)
end)

describe("what is wrong with an element is raised", function()
  local table_ = lt.rand(4, 2, here)
  local TOO_LARGE = "embedding: index 9 is out of bounds for dimension 0 with size 4 (indexes start at 0)" .. LATER

  it("when the device is waited for, once", function()
    F.embedding(longs(1, 9, 7), table_)
    assert.are.equal(TOO_LARGE, message_of(lt.cuda.synchronize))
    lt.cuda.synchronize()
    assert.are.equal(4, lt.full({2}, 2, here):sum():item())
  end)

  it("by whatever waits", function()
    local x = lt.ones(2, here)
    local forms = {
      item = function() return x[0]:item() end, copy = function() return x:cpu() end, print = function() return tostring(x) end,
      list = function() return x:tolist() end, equal = function() return lt.equal(x, x:clone()) end, nonzero = function() return x:nonzero() end,
      mask = function() return x[x:gt(0)] end, upload = function() return lt.ones(2, {device = "cpu"}):to("cuda") end,
    }
    for name, form in pairs(forms) do
      F.embedding(longs(9), table_)
      assert.are.equal(TOO_LARGE, message_of(form), name)
      assert.is_true((pcall(form)), name)
    end
  end)

  it("under the name of the first operator that was wrong", function()
    local zero, nine = longs(1, 0), longs(9)
    local x = zero:remainder(zero)
    F.embedding(nine, table_)
    table_:gather(0, nine:reshape(1, 1))
    assert.are.equal("remainder: integer division by zero" .. LATER, message_of(x.tolist, x))
    lt.cuda.synchronize()
  end)

  it("that of backward too", function()
    local w = lt.rand(4, 2, {device = "cuda:0", requires_grad = true})
    F.embedding(longs(9), w):sum():backward()
    assert.are.equal(TOO_LARGE, message_of(lt.cuda.synchronize))
    F.cross_entropy(w, longs(0, 2, 1, 0)):backward()
    assert.is_truthy(message_of(w.grad.tolist, w.grad):find("cross_entropy: index 2 is out of bounds for dimension 1 with size 2", 1, true))
    lt.cuda.synchronize()
  end)

  it("of the device that is waited for", function()
    if lt.cuda.device_count() < 2 then return pending("there is one device") end
    F.embedding(longs(9), table_)
    lt.cuda.synchronize(1)
    assert.are.equal(1, lt.ones(1, {device = "cuda:1"}):item())
    assert.are.equal(TOO_LARGE, message_of(lt.cuda.synchronize, 0))
  end)
end)

describe("lt.cuda", function()
  local functions = {"synchronize", "memory_allocated", "memory_reserved", "max_memory_allocated", "empty_cache", "get_device_name"}

  it("refuses what is no device", function()
    for _, name in ipairs(functions) do
      for _, wrong in ipairs {-1, 1.5, 2 ^ 40, 0 / 0, 1 / 0, "gpu", "cuda:-1", "cuda:" .. ("9"):rep(30), true, {1}, print, lt.ones(2), lt.None} do
        local ok, message = pcall(lt.cuda[name], wrong)
        assert.is_false(ok, name)
        assert.is_truthy(message:find(name .. ": argument 'device' must be a device", 1, true), message)
      end
      assert.is_truthy(message_of(lt.cuda[name], "cpu"):find(name .. ': a CUDA device such as "cuda:0" is expected, got "cpu"', 1, true))
      assert.is_truthy(message_of(lt.cuda[name], 200):find("there is no device cuda:200: this machine has", 1, true))
      assert.is_truthy(message_of(lt.cuda[name], 0, 1):find(name .. " takes at most 1 argument", 1, true))
      lt.cuda[name]("cuda:0")
      lt.cuda[name] {device = 0}
    end
  end)

  it("takes no arguments where it has none", function()
    for _, name in ipairs {"is_available", "device_count", "why_not", "libraries"} do
      assert.is_truthy(message_of(lt.cuda[name], 1):find(name, 1, true))
      lt.cuda[name]()
    end
    assert.is_truthy(message_of(lt.cuda.allow_tf32, 1):find("allow_tf32: argument 'allowed' must be true or false, got 1", 1, true))
  end)

  it("is where a device that is none is refused everywhere", function()
    for _, wrong in ipairs {-1, -5, 1.5, 2 ^ 40, 0 / 0, "cuda:-1"} do
      assert.has_error(function() return lt.zeros(2, {device = wrong}) end)
      assert.has_error(function() return lt.ones(2):to {device = wrong} end)
      assert.has_error(function() return lt.ones(2):cuda(wrong) end)
      assert.has_error(function() lt.set_default_device(wrong) end)
    end
    assert.has_error(function() return lt.ones(2):cuda("cpu") end, "cuda: the cpu is no CUDA device; write :cpu()")
  end)
end)
