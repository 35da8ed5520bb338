--- Long runs leave the process as large as it was: training, scopes with the collector stopped, custom Functions and hooks.

local lt = require("lunette")
local nn, optim = lt.nn, lt.optim

local WARM_UP, STEPS, CYCLE = 2000, 10000, 1000
local MEGABYTE = 2 ^ 20
local ROOM = 2 * MEGABYTE -- that a flat run may still grow by
local PAGE = 4096

--- Bytes of this process that lie in memory.
local function resident()
  local file = assert(io.open("/proc/self/statm"))
  local _, pages = file:read("*n", "*n")
  file:close()
  return pages * PAGE
end

--- Runs step STEPS times and says by how many bytes the process grew after the warm-up. Cycles of the collector come at fixed steps: those that
-- Lunette runs itself come the later the larger the heap is that other specs left.
local function growth(step)
  local before
  for i = 1, STEPS do
    step()
    if i % CYCLE == 0 then lt.gc() end
    if i == WARM_UP then before = resident() end
  end
  return resident() - before
end

--- The same with the collector stopped. What Lua's heap grew by is taken off: it is garbage that waits. (Its blocks cost LuaJIT
-- about a tenth more than it counts, which is 1 MB here.)
local function growth_without_collector(step)
  local before
  for i = 1, STEPS do
    step()
    if i == WARM_UP then before = resident() - 1024 * collectgarbage("count") end
  end
  return resident() - 1024 * collectgarbage("count") - before
end

local function assert_flat(grown)
  if os.getenv("LN_NO_CACHE") then return pending("sanitizers keep what was freed for a while") end
  assert.is_true(grown < ROOM, ("the process grew by %.2f MB"):format(grown / MEGABYTE))
end

--- A function that does one step of training a small network.
local function trainer()
  local net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
  local optimizer, criterion = optim.Adam(net:parameters(), {lr = 1e-3}), nn.MSELoss()
  local x, y = lt.randn(16, 4), lt.randn(16, 1)
  return function()
    optimizer:zero_grad()
    criterion(net(x), y):backward()
    optimizer:step()
  end
end

describe("memory stays flat", function()
  it("in 10,000 steps of training", function() assert_flat(growth(trainer())) end)

  it("in 10,000 steps in lt.scope with the collector stopped", function()
    local step = trainer()
    step() -- the optimizer's state outlives the scopes
    lt.gc()
    collectgarbage("stop")
    local ok, grown = pcall(growth_without_collector, function() lt.scope(step) end)
    collectgarbage("restart")
    assert(ok, grown)
    assert_flat(grown)
  end)

  it("in 10,000 custom Functions and hooks, made and dropped", function()
    local x = lt.tensor({1, 2}, {requires_grad = true})
    local function step()
      local Scale = lt.autograd.Function:subclass("Scale")
      local factor = 2
      function Scale.forward(ctx, t)
        ctx:save_for_backward(t)
        return t * factor
      end
      function Scale.backward(_, dy) return dy * factor end
      local y = Scale.apply(x)
      local hook = y:register_hook(function(g) return g + factor end)
      x.grad = nil
      y:sum():backward()
      hook:remove()
    end
    local grown = growth(step)
    assert.are.same({6, 6}, x.grad:tolist())
    assert_flat(grown)
  end)
end)
