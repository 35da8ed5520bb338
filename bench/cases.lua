--- Lunette's side of the benchmark: a line "name TAB median TAB least" for each case, in microseconds. bench/pytorch.py holds the same cases.
--
--     lunette bench/cases.lua          the cases
--     lunette bench/cases.lua start    from require to the first tensor
--
-- DEVICE=cuda takes the figures there.

local ffi = require("ffi")
ffi.cdef [[ struct bench_time { long seconds, nanoseconds; }; int clock_gettime(int, struct bench_time *); ]]
local MONOTONIC, SAMPLES, SAMPLE_SECONDS, WARM_UP_SECONDS = 1, 15, 0.02, 0.3
local reading = ffi.new("struct bench_time")

local function now()
  ffi.C.clock_gettime(MONOTONIC, reading)
  return tonumber(reading.seconds) + 1e-9 * tonumber(reading.nanoseconds)
end

local function report(name, times)
  table.sort(times)
  print(("%s\t%.6f\t%.6f"):format(name, 1e6 * times[math.floor(#times / 2) + 1], 1e6 * times[1]))
end

if arg[1] == "start" then
  -- the launcher loads nothing of Lunette before a script asks for it
  local before = now()
  require("lunette").zeros(1)
  report("start", {now() - before})
  return
end

local lt = require("lunette")
local nn, F, optim = lt.nn, lt.nn.functional, lt.optim
local device = os.getenv("DEVICE")
if device then lt.set_default_device(device) end

local function finish()
  if device then lt.cuda.synchronize() end
end

local function time_of(run, n)
  local before = now()
  run(n)
  finish()
  return now() - before
end

--- Times run(n), which does a thing n times, when it has run for a while; n grows until a sample is long enough for the clock.
local function measure(name, run)
  local warm, n = 0, 1
  while warm < WARM_UP_SECONDS do warm = warm + time_of(run, 1) end
  local elapsed = time_of(run, n)
  while elapsed < SAMPLE_SECONDS do
    n = math.ceil(n * math.min(10, 1.2 * SAMPLE_SECONDS / elapsed))
    elapsed = time_of(run, n)
  end
  local times = {}
  for i = 1, SAMPLES do times[i] = time_of(run, n) / n end
  report(name, times)
end

local function measure_add(name, a, b)
  measure(name, function(n)
    for _ = 1, n do local _ = a + b end
  end)
end

--- The same work, with what was made released after every 100 rounds.
local function scoped(run)
  return function(n)
    for from = 1, n, 100 do
      lt.scope(function() run(math.min(100, n - from + 1)) end)
    end
  end
end

local function add_cases()
  local a, b, wanting = lt.rand(32), lt.rand(32), lt.rand(32, {requires_grad = true})
  measure_add("add", a, b)
  measure("add scope", scoped(function(n)
    for _ = 1, n do local _ = a + b end
  end))
  measure_add("add grad", wanting, b)
  measure("add grad scope", scoped(function(n)
    for _ = 1, n do local _ = wanting + b end
  end))
end

local function linear_case()
  local linear, x, dy = nn.Linear(8, 8), lt.rand(8, 8), lt.rand(8, 8)
  local function run(n)
    for _ = 1, n do linear(x):backward(dy) end
  end
  measure("linear", run)
  measure("linear scope", scoped(run))
end

local function step_case(name, net, x, y)
  local optimizer = optim.Adam(net:parameters())
  measure(name, function(n)
    for _ = 1, n do
      optimizer:zero_grad()
      F.cross_entropy(net(x), y):backward()
      optimizer:step()
    end
  end)
end

local function random_cases()
  local n = 1e6
  local x = lt.rand(n)
  local draws = {
    rand = function() return lt.rand(n) end, randn = function() return lt.randn(n) end, randint = function() return lt.randint(0, 100, {n}) end,
    bernoulli = function() return lt.empty(n):bernoulli_(0.3) end, dropout = function() return F.dropout(x, 0.5) end,
  }
  for name, draw in pairs(draws) do
    measure(name, function(count)
      for _ = 1, count do draw() end
    end)
  end
end

add_cases()
linear_case()
random_cases()
step_case("mlp step", nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)),
  lt.rand(64, 784), lt.randint(0, 10, {64}))
step_case("conv step", nn.Sequential(
    nn.Conv2d(1, 16, 3, {padding = 1}), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, {padding = 1}), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 7 * 7, 10)),
  lt.rand(64, 1, 28, 28), lt.randint(0, 10, {64}))
