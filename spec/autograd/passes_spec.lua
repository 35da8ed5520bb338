--- Passes over one graph that overlap: hooks that register others, coroutines that yield in a hook and are resumed late or never.

local lt = require("lunette")

local function leaf() return lt.tensor({1, 2, 3}, {requires_grad = true}) end

--- A pass of y in a coroutine that yields in a hook of y.
local function paused_pass(y)
  local thread = coroutine.create(function() y:sum():backward({retain_graph = true}) end)
  local handle = y:register_hook(function() coroutine.yield() end)
  assert(coroutine.resume(thread))
  handle:remove()
  return thread
end

local function finish(thread)
  assert(coroutine.resume(thread))
  assert.are.equal("dead", coroutine.status(thread))
end

describe("hooks that are registered while another one is", function()
  it("of the same tensor, by a debug hook at every instruction, are all called in order", function()
    local x = leaf()
    local inner, calls = 0, {}
    jit.off()
    finally(function()
      debug.sethook()
      jit.on()
    end)
    local function register()
      debug.sethook()
      inner = inner + 1
      local n = inner
      x:register_hook(function() calls[#calls + 1] = "inner " .. n end)
      debug.sethook(register, "", 7)
    end
    debug.sethook(register, "", 7)
    for i = 1, 20 do x:register_hook(function() calls[#calls + 1] = "outer " .. i end) end
    debug.sethook()
    x:sum():backward()
    assert.is_true(inner > 20)
    local last, seen = {inner = 0, outer = 0}, 0
    for _, call in ipairs(calls) do
      local kind, n = call:match("^(%a+) (%d+)$")
      assert.are.equal(last[kind] + 1, tonumber(n))
      last[kind], seen = tonumber(n), seen + 1
    end
    assert.are.equal(inner + 20, seen)
  end)

  it("and removed, leave the others", function()
    local x, calls = leaf(), {}
    local handles = {}
    for i = 1, 5 do handles[i] = x:register_hook(function() calls[#calls + 1] = i end) end
    handles[2]:remove()
    handles[2]:remove()
    x:register_hook(function() calls[#calls + 1] = 6 end)
    handles[5]:remove()
    x:sum():backward()
    assert.are.same({1, 3, 4, 6}, calls)
  end)
end)

describe("a coroutine that yields in a pass", function()
  it("goes on after other passes over the same graph", function()
    local x = leaf()
    local y = x * x
    local thread = paused_pass(y)
    y:sum():backward({retain_graph = true})
    assert.are.same({2, 4, 6}, x.grad:tolist())
    finish(thread)
    assert.are.same({4, 8, 12}, x.grad:tolist())
  end)

  it("is not overtaken by an earlier one", function()
    local x = leaf()
    local y = x * x
    local first = paused_pass(y)
    local second = paused_pass(y)
    local ok, message = coroutine.resume(first)
    assert.is_false(ok)
    assert.matches("backward: another pass over the same graph", message)
    finish(second)
    assert.are.same({2, 4, 6}, x.grad:tolist())
  end)

  it("and is never resumed, gives its memory back", function()
    local x = leaf()
    local function abandon()
      local y = lt.ones(25000) * x[0]
      paused_pass(y)
    end
    abandon()
    lt.gc()
    local before = lt.memory_stats().live
    for _ = 1, 50 do abandon() end
    lt.gc()
    lt.gc()
    assert.is_true(lt.memory_stats().live - before < 200000)
  end)

  it("may be given up while later passes wait: their gradients are what they were", function()
    for _, order in ipairs {{1, 2, 3}, {1, 3, 2}, {2, 1, 3}, {2, 3, 1}, {3, 1, 2}} do
      local x = leaf()
      local y = x * x
      local threads = {paused_pass(y), paused_pass(y), paused_pass(y)}
      local last = order[3]
      for i = 1, 2 do threads[order[i]] = nil lt.gc() lt.gc() end
      finish(threads[last])
      assert.are.same({2, 4, 6}, x.grad:tolist())
      y:sum():backward({retain_graph = true})
      assert.are.same({4, 8, 12}, x.grad:tolist())
    end
  end)
end)
