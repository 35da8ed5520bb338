--- What operators cost on a CUDA device: memory moved or operations done per second, so that each line can be held against what the device can do.
--
--     lunette bench/cuda.lua            SIZE=64 divides the sizes by that, for a device that is slow; ROUNDS=n, 5 by default
--
-- A round runs a case for a while between two synchronisations. The table gives the least and the median time of a round's runs, and the first call's,
-- in which kernels may be compiled.

local lt = require("lunette")

local C = require("lunette.ffi").C
local nn, F = lt.nn, lt.nn.functional
local SIZE, ROUNDS, WHILE = tonumber(os.getenv("SIZE")) or 1, tonumber(os.getenv("ROUNDS")) or 5, 0.05

assert(lt.cuda.is_available(), lt.cuda.why_not())
lt.set_default_device("cuda")

-- A size divided by SIZE, at least `least`.
local function some(n, least) return math.max(least or 1, math.floor(n / SIZE)) end

local function trained(model, x, y, optimizer)
  return function()
    optimizer:zero_grad()
    F.cross_entropy(model(x), y):backward()
    optimizer:step()
  end
end

-- forward and backward of f(x ...)
local function both(f, ...)
  local inputs = {...}
  for _, x in ipairs(inputs) do x.requires_grad = true end
  return function()
    for _, x in ipairs(inputs) do x.grad = nil end
    f(unpack(inputs)):sum():backward()
  end
end

local function parameters(count, size)
  local list = {}
  for i = 1, count do
    list[i] = nn.Parameter(lt.randn(size))
    list[i].grad = lt.randn(size)
  end
  return list
end

-- name; gigabytes that must be moved or 0; gigaflops or 0; the function
local cases = {}
local function case(name, bytes, operations, run) cases[#cases + 1] = {name = name, bytes = bytes, operations = operations, run = run} end

do
  local n = some(2 ^ 26)
  local a, b = lt.rand(n), lt.rand(n)
  case("a launch: add of 1 element", 0, 0, (function() local x = lt.ones(1) return function() return x + x end end)())
  case("add float32", 12 * n, 0, function() return a + b end)
  local c, d = a:bfloat16(), b:bfloat16()
  case("add bfloat16", 6 * n, 0, function() return c + d end)
  local rows, row = lt.rand(some(2 ^ 16), 1024), lt.rand(1024)
  case("add [65536, 1024] + [1024]", 8 * rows:numel(), 0, function() return rows + row end)
  case("sum of columns (a bias gradient)", 4 * rows:numel(), 0, function() return rows:sum(0) end)
  case("sum of rows", 4 * rows:numel(), 0, function() return rows:sum(1) end)
  case("contiguous of a transposed one", 8 * rows:numel(), 0, function() return rows:t():contiguous() end)
  case("dropout", 8 * n, 0, function() return F.dropout(a, 0.5, true) end)
  case("nonzero, half of bool", 5 * n, 0, (function() local mask = a:gt(0.5) return function() return mask:nonzero() end end)())
  local long = lt.rand(8, some(2 ^ 20))
  case("softmax of 8 long rows", 8 * long:numel(), 0, function() return F.softmax(long, 1) end)
  case("softmax of rows of 1024", 8 * rows:numel(), 0, function() return F.softmax(rows, 1) end)
end

do
  local n = some(4096, 64)
  for _, dtype in ipairs {"float32", "bfloat16"} do
    local a, b = lt.rand(n, n):to(dtype), lt.rand(n, n):to(dtype)
    case("matmul 4096^3 " .. dtype, 0, 2 * n ^ 3, function() return a:matmul(b) end)
  end
  local batch, m = lt.rand(4, 16, some(512, 16), 64), some(512, 16)
  case("matmul [4, 16, 512, 64] by its transpose", 0, 2 * 64 * m * m * 64, function() return batch:matmul(batch:transpose(2, 3)) end)
  local x, w, bias = lt.rand(some(8192), 1024), lt.rand(1024, 1024), lt.rand(1024)
  case("linear with bias, 8192 x 1024 x 1024", 0, 2 * x.shape[0] * 1024 * 1024, function() return F.linear(x, w, bias) end)
end

do
  local side = some(56, 8)
  local images = lt.rand(some(64), 64, side, side)
  for _, dtype in ipairs {"float32", "float16"} do
    local weight = lt.rand(64, 64, 3, 3):to(dtype)
    for layout, x in pairs {["channels first"] = images:to(dtype), ["channels last"] = images:to(dtype):permute(0, 2, 3, 1):contiguous():permute(0, 3, 1, 2)} do
      case(("conv 64 x 64 x 56 x 56, 3 x 3, %s, %s"):format(dtype, layout), 0, 2 * 9 * 64 * images:numel(),
        function() return F.conv2d(x, weight, nil, 1, 1) end)
    end
  end
  local norm = nn.BatchNorm2d(64):to("cuda")
  case("batch norm in training, forward", 12 * images:numel(), 0, function() return norm(images) end)
  case("batch norm in training, both", 28 * images:numel(), 0, both(function(x) return norm(x) end, images:clone()))
  local rows = lt.rand(some(2 ^ 15), 1024)
  case("layer norm of rows of 1024, both", 28 * rows:numel(), 0, both(function(x) return x:layer_norm {1024} end, rows))
end

do
  local n, classes = some(2 ^ 14), some(2 ^ 12, 16)
  local x, y = lt.rand(n, classes), lt.randint(0, classes, {n})
  case("cross entropy, 16384 of 4096 classes, both", 12 * x:numel(), 0, both(function(v) return F.cross_entropy(v, y) end, x))
  local weight, ids = lt.rand(some(50000, 100), 512), lt.randint(0, some(50000, 100), {some(2 ^ 15)})
  case("embedding, both, spread ids", 0, 0, both(function(w) return F.embedding(ids, w) end, weight))
  local same = lt.zeros(some(2 ^ 15), {dtype = "int64"})
  case("embedding, both, one id alone", 0, 0, both(function(w) return F.embedding(same, w) end, weight:clone():detach()))
end

do
  for _, size in ipairs {1000, some(10 ^ 6, 1000)} do
    local list = parameters(100, size)
    local adam, sgd = lt.optim.Adam(list), lt.optim.SGD(list, {lr = 1e-3, momentum = 0.9})
    case(("Adam, 100 parameters of %d"):format(size), 2800 * size, 0, function() adam:step() end)
    case(("SGD with momentum, the same"), 2000 * size, 0, function() sgd:step() end)
  end
  local y = lt.randint(0, 10, {64})
  local mlp = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)):to("cuda")
  case("a step of an MLP, batch 64", 0, 0, trained(mlp, lt.rand(64, 784), y, lt.optim.Adam(mlp:parameters())))
  local net = nn.Sequential(nn.Conv2d(1, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
    nn.Flatten(), nn.Linear(1600, 10)):to("cuda")
  case("a step of a small CNN, batch 64", 0, 0, trained(net, lt.rand(64, 1, 28, 28), y, lt.optim.Adam(net:parameters())))
end

local function seconds_of(run, times)
  lt.cuda.synchronize()
  local from = C.ln_clock()
  lt.scope(function()
    for _ = 1, times do run() end
  end)
  lt.cuda.synchronize()
  return (C.ln_clock() - from) / times
end

io.stdout:setvbuf("line")
print(lt.cuda.get_device_name())
print(lt.show_config())
print(("%-52s %10s %10s %10s %9s %9s"):format("", "first ms", "least us", "median us", "GB/s", "Gflop/s"))
for _, c in ipairs(cases) do
  local first, rounds = seconds_of(c.run, 1), {}
  local times = math.max(1, math.floor(WHILE / seconds_of(c.run, 1)))
  for i = 1, ROUNDS do rounds[i] = seconds_of(c.run, times) end
  table.sort(rounds)
  local function rate(amount) return amount > 0 and ("%9.1f"):format(amount / rounds[1] / 1e9) or (" "):rep(9) end
  print(("%-52s %10.1f %10.1f %10.1f %s %s"):format(c.name, first * 1e3, rounds[1] * 1e6, rounds[math.ceil(ROUNDS / 2)] * 1e6, rate(c.bytes), rate(c.operations)))
end
io.write(lt.cuda.libraries())
