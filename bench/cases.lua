--- Lunette's side of the benchmark: a line "name TAB median TAB least" for each case, in microseconds. bench/pytorch.py holds the same cases.
--
--     lunette bench/cases.lua [GROUP [TEXT]]    those of a group, calls, random, networks, sequences, loops, functions or start, whose name contains TEXT; else all but start
--
-- DEVICE=cuda takes the figures there, THREADS=n with so many threads.

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

local group, wanted = arg[1], arg[2] or ""

if group == "start" then
  -- the launcher loads nothing of Lunette before a script asks for it
  local before = now()
  require("lunette").zeros(1)
  report("start", {now() - before})
  return
end

package.path = (arg[0]:match("^(.*/)") or "./") .. "?.lua;" .. package.path
local lt = require("lunette")
local nn, F = lt.nn, lt.nn.functional
local device, threads = os.getenv("DEVICE"), tonumber(os.getenv("THREADS"))
if device then lt.set_default_device(device) end
if threads then lt.set_num_threads(threads) end

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
  if not name:find(wanted, 1, true) then return end
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

local function call_cases()
  local a, b, wanting = lt.rand(32), lt.rand(32), lt.rand(32, {requires_grad = true})
  measure_add("add", a, b)
  measure("add scope", scoped(function(n)
    for _ = 1, n do local _ = a + b end
  end))
  measure_add("add grad", wanting, b)
  measure("add grad scope", scoped(function(n)
    for _ = 1, n do local _ = wanting + b end
  end))
  local linear, x, dy = nn.Linear(8, 8), lt.rand(8, 8), lt.rand(8, 8)
  local function run(n)
    for _ = 1, n do linear(x):backward(dy) end
  end
  measure("linear", run)
  measure("linear scope", scoped(run))
end

local function network_cases()
  for _, network in ipairs(require("networks")) do
    if network.name:find(wanted, 1, true) then
      local net, loss, optimizer = network.make()
      measure(network.name, function(n)
        for _ = 1, n do
          optimizer:zero_grad()
          loss(net):backward()
          optimizer:step()
        end
      end)
    end
  end
end

local function measure_attention(name, batch, heads, length, size)
  local function part() return lt.randn(batch, length, heads, size):transpose(1, 2):requires_grad_() end
  local q, k, v, g = part(), part(), part(), lt.randn(batch, heads, length, size)
  measure(name, function(n)
    for _ = 1, n do F.scaled_dot_product_attention(q, k, v, {is_causal = true}):backward(g) end
  end)
end

local function sequence_cases()
  local gru, x = nn.GRU(128, 128, 2), lt.randn(64, 32, 128, {requires_grad = true})
  measure("gru", function(n)
    for _ = 1, n do (gru(x)):sum():backward() end
  end)
  measure_attention("attention", 16, 4, 64, 32)
  measure_attention("attention 1024", 2, 8, 1024, 64)
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

--- Operators bound by how their loops walk memory; each name is that of a case of bench/pytorch.py. What they make is released at once, as
-- PyTorch does it, so that both write where the processor's caches are warm; "add 4M" is also measured without a scope.
local function loop_cases()
  local function case(name, make)
    if not name:find(wanted, 1, true) then return end
    local run = make()
    local function once() run() end
    measure(name, function(n)
      for _ = 1, n do lt.scope(once) end
    end)
  end
  local function square() return lt.rand(1024, 1024) end
  local function channels_last() return lt.randn(32, 56, 56, 64):permute(0, 3, 1, 2) end
  local function bits() return lt.rand(1000000):gt(0.5) end
  local function as(dtype)
    return function()
      local x = lt.rand(1000000)
      return function() return x:to(dtype) end
    end
  end
  local function from(dtype)
    return function()
      local x = lt.rand(1000000):to(dtype)
      return function() return x:to("float32") end
    end
  end

  case("relu channels-last", function() local x = channels_last() return function() return F.relu(x) end end)
  case("clone channels-last", function() local x = channels_last() return function() return x:clone() end end)
  case("add permuted", function()
    local x, y = lt.rand(64, 48, 512):permute(2, 0, 1), lt.rand(64, 48, 512):permute(2, 0, 1)
    return function() return x + y end
  end)
  case("add rows of 3", function() local x, y = lt.rand(1000000, 3), lt.rand(3) return function() return x + y end end)
  case("transposed copy", function() local x = lt.rand(2048, 2048):t() return function() return x:contiguous() end end)
  case("sum dim 1", function() local x = square() return function() return x:sum(1) end end)
  case("amax dim 1", function() local x = square() return function() return x:amax(1) end end)
  case("amax dim 0", function() local x = square() return function() return x:amax(0) end end)
  case("argmax dim 1", function() local x = square() return function() return x:argmax(1) end end)
  case("argmax dim 0", function() local x = square() return function() return x:argmax(0) end end)
  case("cumsum dim 1", function() local x = square() return function() return x:cumsum(1) end end)
  case("cumsum dim 0", function() local x = square() return function() return x:cumsum(0) end end)
  case("softmax dim 1", function() local x = square() return function() return x:softmax(1) end end)
  case("softmax dim 0", function() local x = square() return function() return x:softmax(0) end end)
  case("logical_and", function() local x, y = bits(), bits() return function() return lt.logical_and(x, y) end end)
  case("eq", function() local x, y = bits(), bits() return function() return lt.eq(x, y) end end)
  case("index_put_", function()
    local x, at, one = lt.rand(1000000), lt.tensor({5}, {dtype = "int64"}), lt.ones(1)
    return function() return x:index_put_({at}, one) end
  end)
  case("to float16", as("float16"))
  case("from float16", from("float16"))
  case("to bfloat16", as("bfloat16"))
  case("from bfloat16", from("bfloat16"))
  case("index_add", function()
    local x, at, y = lt.rand(100000, 16), lt.randint(0, 100000, {100000}), lt.rand(100000, 16)
    return function() return lt.index_add(x, 0, at, y) end
  end)
  case("index_add of 1000 rows", function()
    local x, at, y = lt.rand(1000, 16), lt.randint(0, 1000, {100000}), lt.rand(100000, 16)
    return function() return lt.index_add(x, 0, at, y) end
  end)
  case("rows one by one", function()
    local x = lt.rand(4000, 16, {requires_grad = true})
    return function()
      local sum = 0
      for i = 0, 3999 do sum = sum + x:select(0, i):sum() end
      sum:backward()
      return sum
    end
  end)
  case("add 4M", function() local x, y = lt.rand(4194304), lt.rand(4194304) return function() return x + y end end)
  measure_add("add 4M unscoped", lt.rand(4194304), lt.rand(4194304))
  case("gelu 1M", function() local x = lt.randn(1048576) return function() return F.gelu(x) end end)
  case("gelu 1M backward", function()
    local x, g = lt.randn(1048576, {requires_grad = true}), lt.randn(1048576)
    local y = F.gelu(x)
    return function() return lt.autograd.grad(y, x, {grad_outputs = g, retain_graph = true}) end
  end)
  case("embedding", function()
    local table_, ids = lt.rand(10000, 256), lt.randint(0, 10000, {64, 64})
    return function() return F.embedding(ids, table_) end
  end)
  case("bags", function()
    local table_, ids = lt.rand(10000, 64), lt.randint(0, 10000, {512, 50})
    return function() return F.embedding_bag(ids, table_) end
  end)
  case("bags backward", function()
    local table_, ids, g = lt.rand(10000, 64, {requires_grad = true}), lt.randint(0, 10000, {512, 50}), lt.randn(512, 64)
    return function() return lt.autograd.grad(F.embedding_bag(ids, table_), table_, {grad_outputs = g}) end
  end)
end

-- The corners of 2 x 2 windows as positions in a plane.
local function corners(shape)
  local rows, columns = shape[#shape - 1], shape[#shape]
  local place = lt.arange(rows):mul(4 * columns):unsqueeze(1) + lt.arange(columns):mul(2)
  return place:long():expand(shape):contiguous()
end

-- An input of functions.txt; `large`: of the larger of two sizes.
local function input_of(word, large)
  local sizes, kind = word:match("^([%dx]+)(.*)$")
  local shape = {}
  for size in sizes:gmatch("%d+") do shape[#shape + 1] = tonumber(size) end
  if large and kind:find("*", 1, true) then shape[1] = shape[1] * 100 end
  local below = kind:match("%%(%d+)")
  if below then return lt.randint(0, tonumber(below), shape) end
  if kind:find("@") then return corners(shape) end
  local t = kind:find("?", 1, true) and lt.rand(shape) or lt.randn(shape)
  return kind:find("!") and t or t:requires_grad_()
end

-- A call of functions.txt at one size, and its gradient.
local function measure_function(name, words, call, large)
  local inputs, leaves = {}, {}
  for word in words:gmatch("%S+") do
    local t = input_of(word, large)
    inputs[#inputs + 1] = t
    if t.requires_grad then leaves[#leaves + 1] = t end
  end
  local run = setfenv(assert(loadstring("local x, y, z = ... return (" .. call .. ")")), {F = F, lt = lt})
  local y = run(unpack(inputs))
  local g = lt.randn(y.shape)
  local function forward() run(unpack(inputs)) end
  local function backward() lt.autograd.grad({y}, leaves, {g}, {retain_graph = true}) end
  name = name .. (large and " 1e7" or " 1e5")
  measure(name, function(n)
    for _ = 1, n do lt.scope(forward) end
  end)
  measure(name .. " backward", function(n)
    for _ = 1, n do lt.scope(backward) end
  end)
end

local function function_cases()
  for line in io.lines((arg[0]:match("^(.*/)") or "./") .. "functions.txt") do
    local name, words, call = line:match("^([^#;]-) ; (.-) ; ([^;]+)")
    if name and (name .. " 1e5 backward 1e7 backward"):find(wanted, 1, true) then
      for _, large in ipairs{false, true} do
        lt.scope(function() measure_function(name, words, call, large) end)
        collectgarbage()
      end
    end
  end
end

local groups = {
  calls = call_cases, random = random_cases, networks = network_cases, sequences = sequence_cases, loops = loop_cases, functions = function_cases,
}
if group then
  assert(groups[group], "no group " .. group)()
else
  for _, name in ipairs {"calls", "random", "networks", "sequences", "loops", "functions"} do groups[name]() end
end
