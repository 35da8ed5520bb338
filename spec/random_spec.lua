--- Random numbers: the stream of a seed as docs/random.md defines it, its independence of everything but the seed, distributions, generators.

local lt = require("lunette")

local here = debug.getinfo(1, "S").source:match("^@(.*)random_spec%.lua$")
local HUGE, NAN = math.huge, 0 / 0

--- Moves the default generator to block `skip` of the stream of a seed, an int64 as text.
local function start(seed, skip) lt.set_rng_state(lt.tensor({seed, tostring(skip)}, {dtype = "int64", device = "cpu"})) end

local function drawn(seed, fn, ...)
  lt.manual_seed(seed)
  return fn(...)
end

--- What draws into a given tensor, by name: {dtypes, fn}.
local FLOATS, ALL = {"float32", "float64", "float16", "bfloat16"}, {"float32", "float64", "float16", "bfloat16", "int8", "int64", "uint8", "bool"}
local FILLS = {
  uniform = {FLOATS, function(t) return t:uniform_(-1, 2) end},
  normal = {FLOATS, function(t) return t:normal_(1, 2) end},
  bernoulli = {ALL, function(t) return t:bernoulli_(0.3) end},
  random = {ALL, function(t) return t:random_(0, 2) end},
  random_wide = {{"int64", "float64"}, function(t) return t:random_(0, 2 ^ 40) end},
  random_any = {{"int64"}, function(t) return t:random_() end},
  exponential = {FLOATS, function(t) return t:exponential_(2) end},
  cauchy = {FLOATS, function(t) return t:cauchy_(1, 0.5) end},
  log_normal = {FLOATS, function(t) return t:log_normal_(0, 0.5) end},
  geometric = {FLOATS, function(t) return t:geometric_(0.3) end},
  dropout = {FLOATS, function(t) return t:fill_(3):dropout_(0.4) end},
}

local function each_fill(fn)
  for name, fill in pairs(FILLS) do
    for _, dtype in ipairs(fill[1]) do fn(name .. ", " .. dtype, fill[2], dtype) end
  end
end

describe("the stream of a seed", function()
  for _, case in ipairs(dofile(here .. "fixtures/random.lua")) do
    local call, seed, skip, text = unpack(case)
    it(("is what is written down: %s, seed %s"):format(call, seed), function()
      local values = {}
      for word in text:gmatch("%S+") do values[#values + 1] = word end
      start(seed, skip)
      local got = loadstring("local lt = ... return " .. call)(lt)
      if got.dtype ~= "int64" then
        for i, word in ipairs(values) do values[i] = tonumber(word) end
      end
      local expected = lt.tensor(values, {dtype = got.dtype == "int64" and "int64" or "float64"}):to(got.dtype)
      assert.is_true(lt.equal(expected, got), tostring(got))
    end)
  end

  it("is taken in blocks of four words, as many as a draw needs", function()
    local taken = {
      {1, function() lt.rand(1) end}, {1, function() lt.rand(2, 2) end}, {2, function() lt.rand(5) end}, {0, function() lt.rand(0) end},
      {25, function() lt.randn(100) end}, {3, function() lt.rand(5, {dtype = "float64"}) end}, {3, function() lt.randn(5, {dtype = "float64"}) end},
      {2, function() lt.rand(5, {dtype = "float16"}) end}, {3, function() lt.randint(0, 7, {5}) end}, {5, function() lt.randint(0, 2 ^ 33, {5}) end},
      {2, function() lt.empty(5, {dtype = "float64"}):bernoulli_(0.1) end}, {2, function() lt.dropout(lt.ones(7), 0.5) end},
      {0, function() lt.dropout(lt.ones(7), 0) end}, {0, function() lt.dropout(lt.ones(7), 0.5, false) end}, {4, function() lt.randperm(7) end},
    }
    for i, case in ipairs(taken) do
      start("3", 10)
      case[2]()
      assert.are.equal(10 + case[1], lt.get_rng_state()[1]:item(), "draw " .. i)
    end
  end)

  it("gives a short draw the beginning of a long one", function()
    each_fill(function(what, fill, dtype)
      local long = drawn(4, fill, lt.empty(1100, {dtype = dtype}))
      for _, n in ipairs {1, 2, 3, 127, 512, 513, 1025} do
        assert.is_true(lt.equal(long:narrow(0, 0, n), drawn(4, fill, lt.empty(n, {dtype = dtype}))), what .. ", " .. n)
      end
    end)
  end)
end)

describe("the numbers of a seed do not depend on", function()
  it("the layout", function()
    each_fill(function(what, fill, dtype)
      local plain = drawn(5, fill, lt.empty(30, 41, {dtype = dtype}))
      local turned = drawn(5, fill, lt.empty(41, 30, {dtype = dtype}):t())
      local sliced = drawn(5, fill, lt.empty(60, 90, {dtype = dtype})["::2, 3:85:2"])
      assert.is_true(lt.equal(plain, turned), what .. ", turned")
      assert.is_true(lt.equal(plain, sliced), what .. ", sliced")
    end)
  end)

  it("the layout of what dropout reads, which its result keeps", function()
    local x = lt.randn(4, 3, 5, 6)
    local last = x:permute(0, 2, 3, 1):contiguous():permute(0, 3, 1, 2)
    local a, b = drawn(6, lt.dropout, x, 0.5), drawn(6, lt.dropout, last, 0.5)
    assert.is_true(lt.equal(a, b))
    assert.are.same({last:stride():unpack()}, {b:stride():unpack()})
    assert.is_true(lt.equal(a:sum(0), drawn(6, lt.dropout, x:select(0, 0):expand(4, 3, 5, 6), 0.5):ne(0):mul(x):mul(2):sum(0)))
  end)

  it("the number of threads", function()
    local threads = lt.get_num_threads()
    finally(function() lt.set_num_threads(threads) end)
    each_fill(function(what, fill, dtype)
      lt.set_num_threads(1)
      local one = drawn(7, fill, lt.empty(100003, {dtype = dtype}))
      for _, n in ipairs {2, 3, 4, 7} do
        lt.set_num_threads(n)
        assert.is_true(lt.equal(one, drawn(7, fill, lt.empty(100003, {dtype = dtype}))), ("%s, %d threads"):format(what, n))
      end
    end)
  end)

  it("the instruction set", function()
    local script = [[
      local lt = require("lunette")
      lt.manual_seed(8)
      local h = {lt.randn(3001):double():mul(lt.arange(3001):add(1)):sum(), lt.randn(3001, {dtype = "float64"}):cumsum(0):abs():sum(),
        lt.rand(3001):double():mul(lt.arange(3001)):sum(), lt.rand(3001, {dtype = "float64"}):mul(lt.arange(3001)):sum(),
        lt.randint(0, 1000, {3001}):mul(lt.arange(3001):long()):sum(), lt.empty(3001):bernoulli_(0.5):mul(lt.arange(3001)):sum(),
        lt.dropout(lt.arange(3001), 0.5):double():sum(), lt.randperm(3001):mul(lt.arange(3001):long()):sum()}
      for _, v in ipairs(h) do io.write(("%.17g "):format(tonumber(v:item()))) end
    ]]
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write(script)
    file:close()
    local seen = {}
    for _, isa in ipairs {"base", "avx2", "avx512"} do
      local pipe = assert(io.popen(("LN_ISA=%s LUA_PATH='%slua/?.lua;%slua/?/init.lua;;' luajit '%s' 2>&1"):format(isa, here .. "../", here .. "../", path)))
      seen[#seen + 1] = pipe:read("*a")
      pipe:close()
    end
    os.remove(path)
    assert.is_truthy(seen[1] and #seen[1] > 80, seen[1])
    assert.are.same({seen[1], seen[1], seen[1]}, seen)
  end)
end)

describe("distributions", function()
  local N = 2 ^ 20

  --- The chi-square statistic of counts against equal expectations stays within five standard deviations of its mean.
  local function check_even(counts, what)
    local cells, total, chi = #counts, 0, 0
    for _, c in ipairs(counts) do total = total + c end
    for _, c in ipairs(counts) do chi = chi + (c - total / cells) ^ 2 / (total / cells) end
    assert.is_true(math.abs(chi - (cells - 1)) < 5 * math.sqrt(2 * (cells - 1)), ("%s: chi-square %g of %d cells"):format(what, chi, cells))
  end

  --- How many of the numbers of u, in [0, 1), fall into each of n cells.
  local function counted(u, n)
    local cells = lt.zeros(n, {dtype = "int64"})
    cells:index_add_(0, u:mul(n):floor():long(), lt.ones(u:numel(), {dtype = "int64"}))
    return cells:tolist()
  end

  it("uniform numbers are even, in each dtype, and never reach the end", function()
    for dtype, cells in pairs {float32 = 256, float64 = 256, float16 = 256, bfloat16 = 128} do
      local u = drawn(1, lt.rand, N, {dtype = dtype})
      assert.is_true(u:max():item() < 1 and u:min():item() >= 0, dtype)
      u = u:double()
      check_even(counted(u, cells), dtype)
      check_even(counted(u["::2"]:mul(16):floor():mul(16):add(u["1::2"]:mul(16):floor()):div(256), 256), dtype .. ", pairs")
    end
  end)

  it("a uniform draw stays below its end where rounding would reach it", function()
    for _, dtype in ipairs {"float32", "float64", "float16", "bfloat16"} do
      for _, ends in ipairs {{1000, 1016}, {-1, 0}, {-1016, -1000}, {0, 1e-3}, {1, 1}, {-0.3, 0.7}} do
        local t = drawn(2, function() return lt.empty(20000, {dtype = dtype}):uniform_(ends[1], ends[2]) end)
        local low = lt.tensor(ends[1], {dtype = dtype})
        local what = ("%s, [%g, %g)"):format(dtype, ends[1], ends[2])
        assert.is_true(t:ge(low):all():item(), what)
        if ends[1] < ends[2] then assert.is_true(t:double():lt(ends[2]):all():item(), what) else assert.is_true(t:eq(low):all():item(), what) end
      end
    end
  end)

  it("normal numbers have the normal distribution, in the tails too", function()
    for dtype in pairs {float32 = 1, float64 = 1} do
      local z = drawn(3, lt.randn, N, {dtype = dtype}):double()
      local error_of_mean = 1 / math.sqrt(N)
      assert.is_true(math.abs(z:mean():item()) < 4 * error_of_mean, dtype)
      assert.is_true(math.abs(z:pow(2):mean():item() - 1) < 4 * math.sqrt(2) * error_of_mean, dtype)
      assert.is_true(math.abs(z:pow(3):mean():item()) < 4 * math.sqrt(15) * error_of_mean, dtype)
      assert.is_true(math.abs(z:pow(4):mean():item() - 3) < 4 * math.sqrt(96) * error_of_mean, dtype)
      check_even(counted(z:mul(math.sqrt(0.5)):erf():add(1):mul(0.5), 256), dtype)
      assert.is_true(math.abs(z["::2"]:mul(z["1::2"]):mean():item()) < 4 * math.sqrt(2) * error_of_mean, dtype)
      local far = z:abs():gt(4):sum():item() -- 66.4 of 2^20 are expected
      assert.is_true(far > 30 and far < 107, dtype .. ": " .. far)
    end
  end)

  it("mean and standard deviation are applied", function()
    local t = drawn(4, function() return lt.empty(N):normal_(-3, 0.25) end)
    assert.is_true(math.abs(t:mean():item() + 3) < 0.001)
    assert.is_true(math.abs(t:std():item() - 0.25) < 0.001)
    assert.is_true(lt.empty(5):normal_(2, 0):eq(2):all():item())
  end)

  it("whole numbers are even and reach both ends", function()
    local t = drawn(5, lt.randint, -3, 97, {N})
    assert.are.same({-3, 96}, {t:min():item(), t:max():item()})
    check_even(counted(t:add(3):double():div(100):add(1e-9), 100), "randint")
    local wide = drawn(6, lt.randint, 0, 3 * 2 ^ 50, {N}):double():div(3 * 2 ^ 50)
    check_even(counted(wide, 300), "randint beyond 2^32")
    local bytes = drawn(7, function() return lt.empty(N, {dtype = "uint8"}):random_(0, 256) end)
    check_even(counted(bytes:double():div(256), 256), "uint8")
    assert.are.same({-128, 127}, {(function() local s = lt.empty(4000, {dtype = "int8"}):random_(-128, 128) return s:min():item(), s:max():item() end)()})
    assert.is_true(lt.empty(9, {dtype = "int64"}):random_(5, 6):eq(5):all():item())
  end)

  it("events have their probability", function()
    for _, p in ipairs {0.001, 0.3, 0.5, 0.9} do
      local hits = drawn(8, function() return lt.empty(N):bernoulli_(p) end):sum():item()
      assert.is_true(math.abs(hits - N * p) < 4 * math.sqrt(N * p * (1 - p)), p)
      local kept = drawn(9, lt.dropout, lt.ones(N), p)
      assert.is_true(math.abs(kept:ne(0):sum():item() - N * (1 - p)) < 4 * math.sqrt(N * p * (1 - p)), p)
      assert.is_true(kept:mul(1 - p):sub(1):abs():lt(1e-6):logical_or(kept:eq(0)):all():item())
    end
  end)

  it("every order is as likely", function()
    local counts, index = {}, {}
    lt.manual_seed(10)
    for _ = 1, 4800 do
      local key = table.concat(lt.randperm(4):tolist())
      if not index[key] then
        counts[#counts + 1] = 0
        index[key] = #counts
      end
      counts[index[key]] = counts[index[key]] + 1
    end
    assert.are.equal(24, #counts)
    check_even(counts, "randperm")
    local seen = lt.zeros(70001, {dtype = "int64"}):index_add_(0, lt.randperm(70001), lt.ones(70001, {dtype = "int64"}))
    assert.is_true(seen:eq(1):all():item())
  end)
end)

describe("dropout", function()
  it("gives gradients to what it kept, with the mask of forward", function()
    local x = lt.randn(300, {requires_grad = true})
    local y = lt.dropout(x, 0.3)
    y:sum():backward()
    assert.is_true(lt.equal(y:detach(), x.grad * x:detach()))
    assert.are.equal(0, x.grad:eq(0):logical_xor(y:eq(0)):sum():item())
  end)

  it("works in place on what is computed, and there too has the right gradient", function()
    local x = lt.randn(300, {requires_grad = true})
    local y = x * 2
    y:dropout_(0.3)
    y:sum():backward()
    assert.is_true(lt.equal(y:detach(), x.grad * x:detach()))
  end)

  it("leaves the input alone where nothing is dropped, and drops all at p = 1", function()
    local x = lt.randn(5, {requires_grad = true})
    assert.is_true(lt.equal(x:detach(), lt.dropout(x, 0):detach()))
    assert.is_true(lt.equal(x:detach(), lt.dropout(x, 0.5, false):detach()))
    local y = lt.dropout(x, 1)
    assert.is_true(y:eq(0):all():item())
    y:sum():backward()
    assert.is_true(x.grad:eq(0):all():item())
    local z = lt.ones(3)
    assert.is_true(z:dropout_(0.5, false):eq(1):all():item())
  end)

  it("keeps what is not finite as PyTorch does", function()
    local y = drawn(1, lt.dropout, lt.full({64}, HUGE), 0.5)
    assert.is_true(y:isinf():logical_or(y:isnan()):all():item())
    assert.is_true(y:isnan():any():item() and y:isinf():any():item())
  end)
end)

describe("generators", function()
  local function refused(words, fn)
    local ok, message = pcall(fn)
    assert.is_false(ok)
    assert.is_truthy(message:find(words, 1, true), message)
  end

  it("take seeds of 64 bits, negative ones as their two's complement", function()
    local function first(seed) return lt.Generator():manual_seed(seed):get_state()[0]:item() end
    assert.are.equal(12, first(12))
    assert.are.equal(-1, first(-1))
    assert.are.equal(-1, first(18446744073709551615ULL))
    assert.are.equal(-1, first(-1LL))
    assert.are.equal(2 ^ 53, first(2 ^ 53))
    assert.are.equal(-0x8000000000000000LL, first(2 ^ 63))
    assert.are.equal(-0x8000000000000000LL, first(-2 ^ 63))
    assert.are.equal(-2048, first(2 ^ 64 - 2048))
    assert.are.equal(18446744073709551615ULL, lt.Generator():manual_seed(-1):initial_seed())
  end)

  it("refuse what is no seed", function()
    for _, seed in ipairs {1.5, -0.5, NAN, HUGE, -HUGE, 1e300, 2 ^ 64, -2 ^ 63 - 2048, "1", true, {}} do
      refused("manual_seed: the seed must be a whole number from -2^63 to 2^64 - 1, got ", function() lt.manual_seed(seed) end)
    end
    refused("got nil", function() lt.manual_seed() end)
  end)

  it("differ by their seeds, and a seed by the system is told", function()
    local a, b = drawn(1, lt.rand, 8), drawn(2, lt.rand, 8)
    assert.is_false(lt.equal(a, b))
    local seed = lt.seed()
    assert.are.equal(seed, lt.initial_seed())
    local c = lt.rand(8)
    assert.is_true(lt.equal(c, drawn(seed, lt.rand, 8)))
    assert.are_not.equal(seed, lt.seed())
    lt.manual_seed(1)
  end)

  it("start alike, with the seed of every process", function()
    assert.are.equal(67280421310721, lt.Generator():initial_seed())
  end)

  it("go on where a saved state stood", function()
    local state = lt.get_rng_state()
    local a = lt.randint(0, 10, {20})
    lt.set_rng_state(state)
    assert.is_true(lt.equal(a, lt.randint(0, 10, {20})))
    local g = lt.Generator():set_state(state)
    assert.is_true(lt.equal(a, lt.randint(0, 10, {20}, {generator = g})))
    for _, wrong in ipairs {1, "x", {1, 2}, lt.zeros(2), lt.LongTensor {1}, lt.LongTensor {{1, 2}}} do
      refused("set_state: what get_state gave is expected", function() lt.set_rng_state(wrong) end)
    end
  end)

  it("are given to whatever draws, and leave the default one alone", function()
    local calls = {
      function(o) return lt.rand(5, o) end, function(o) return lt.randn(5, o) end, function(o) return lt.randint(0, 9, {5}, o) end,
      function(o) return lt.randperm(9, o) end, function(o) return lt.rand_like(lt.ones(4), o) end,
      function(o) return lt.randint_like(lt.ones(4), 9, o) end,
    }
    for i, call in ipairs(calls) do
      local default = lt.get_rng_state()
      local a = call {generator = lt.Generator():manual_seed(7)}
      assert.is_true(lt.equal(default, lt.get_rng_state()), i)
      assert.is_true(lt.equal(a, drawn(7, call, {requires_grad = false})), i)
      lt.set_rng_state(default)
    end
    local in_place = {
      function(t, g) return t:uniform_({generator = g}) end, function(t, g) return t:normal_{mean = 1, generator = g} end,
      function(t, g) return t:random_(9, {generator = g}) end, function(t, g) return t:bernoulli_(0.3, {generator = g}) end,
    }
    for _, name in ipairs{"uniform_", "normal_", "xavier_uniform_", "xavier_normal_", "kaiming_uniform_", "kaiming_normal_"} do
      in_place[#in_place + 1] = function(t, g) return lt.nn.init[name](t, {generator = g}) end
    end
    for i, fill in ipairs(in_place) do
      local default = lt.get_rng_state()
      local a = fill(lt.zeros(6, 5), lt.Generator():manual_seed(7))
      assert.is_true(lt.equal(default, lt.get_rng_state()), i)
      assert.is_true(lt.equal(a, drawn(7, function() return fill(lt.zeros(6, 5)) end)), i)
      lt.set_rng_state(default)
    end
    refused("rand: argument 'generator' must be a generator (lt.Generator()), got 7", function() lt.rand(2, {generator = 7}) end)
    refused("generator", function() lt.data.DataLoader(lt.data.TensorDataset(lt.ones(2)), {generator = {}}) end)
  end)

  it("come back to the default one after a wrong call with another", function()
    local own = lt.Generator():manual_seed(1)
    assert.has_error(function() lt.randint(5, 5, {2}, {generator = own}) end)
    assert.is_true(lt.equal(drawn(2, lt.rand, 4), drawn(2, lt.rand, 4)))
  end)

  it("cannot be taken apart", function()
    local g = lt.Generator()
    refused("a generator has no field 'pointer' that can be set", function() g.pointer = nil end)
    refused("a generator has no method 'pointer'", function() return g.pointer end)
    refused("a generator has no method 'manual_sead'; did you mean 'manual_seed'?", function() g:manual_sead(1) end)
    refused("manual_seed is a method of a generator", function() g.manual_seed(1) end)
    refused("get_state is a method of a generator", function() g.get_state(lt.ones(1)) end)
    assert.are.equal("<lunette Generator, seed 5>", tostring(g:manual_seed(5)))
  end)
end)

describe("draws refuse", function()
  local function refused(call, words)
    it(call, function()
      local ok, message = pcall(loadstring("local lt = ... " .. call), lt)
      assert.is_false(ok)
      assert.is_truthy(message:find(words, 1, true), message)
    end)
  end
  refused("lt.ones(2):uniform_(2, 1)", "uniform_: from 2 must not be above to 1")
  refused("lt.ones(2):uniform_(0, 0 / 0)", "uniform_: from 0 must not be above to")
  refused("lt.ones(2):uniform_(0, math.huge)", "must be finite in float32")
  refused("lt.ones(2):uniform_(-math.huge, 0)", "must be finite in float32")
  refused("lt.ones(2):uniform_(-3e38, 3e38)", "must be finite in float32")
  refused("lt.ones(2):half():uniform_(0, 70000)", "must be finite in float16")
  refused("lt.ones(2):long():uniform_()", "uniform")
  refused("lt.ones(2):normal_(0, -1)", "normal_: the standard deviation -1 must not be negative")
  refused("lt.ones(2):normal_(0, 0 / 0)", "normal_: the standard deviation")
  refused("lt.ones(2):bernoulli_(1.5)", "bernoulli_: the probability 1.5 must lie between 0 and 1")
  refused("lt.ones(2):bernoulli_(0 / 0)", "bernoulli_: the probability")
  refused("lt.ones(2):long():random_(3, 3)", "random_: from 3 must be below to 3")
  refused("lt.empty(2, {dtype = 'uint8'}):random_(-1, 5)", "beyond what uint8 holds, 0 to 255")
  refused("lt.empty(2, {dtype = 'int8'}):random_(0, 129)", "beyond what int8 holds, -128 to 127")
  refused("lt.empty(2, {dtype = 'bool'}):random_(0, 3)", "beyond what bool holds, 0 to 1")
  refused("lt.empty(2, {dtype = 'float16'}):random_(0, 70000)", "beyond what float16 holds, -65504 to 65504")
  refused("lt.dropout(lt.ones(2), -0.1)", "dropout: p must lie between 0 and 1, got -0.1")
  refused("lt.dropout(lt.ones(2), 0 / 0)", "dropout: p must lie between 0 and 1")
  refused("lt.dropout(lt.ones(2):long(), 0.5)", "dropout")
  refused("lt.seeded_dropout(lt.ones(2), 2, 1, 0)", "seeded_dropout: p must lie between 0 and 1, got 2")
  refused("lt.randperm(-1)", "randperm: argument 'n' must be a whole number of at least 0, got -1")
  refused("lt.randperm(math.huge)", "randperm")
  refused("lt.randperm(2.5)", "randperm")
end)

describe("numbers made of uniform ones", function()
  -- The part of n numbers that is at most x.
  local function part(t, x) return t:le(x):to("float64"):mean():item() end
  local N = 200000

  it("follow their distributions", function()
    lt.manual_seed(3)
    local t = lt.empty(N):exponential_(2)
    assert.is_true(t:ge(0):all():item() and t:isfinite():all():item())
    for _, x in ipairs {0.1, 0.5, 1.5} do assert.is_true(math.abs(part(t, x) - (1 - math.exp(-2 * x))) < 0.005) end
    t = lt.empty(N, {dtype = "float64"}):cauchy_(1, 0.5)
    for _, x in ipairs {-2, 1, 1.5, 9} do assert.is_true(math.abs(part(t, x) - (0.5 + math.atan((x - 1) / 0.5) / math.pi)) < 0.005) end
    t = lt.empty(N):log_normal_(0.5, 0.25):log()
    assert.is_true(math.abs(t:mean():item() - 0.5) < 0.005 and math.abs(t:std():item() - 0.25) < 0.005)
    for _, dtype in ipairs {"int64", "float32"} do
      t = lt.empty(N, {dtype = dtype}):geometric_(0.3)
      assert.is_true(t:ge(1):all():item())
      for k = 1, 4 do assert.is_true(math.abs(part(t, k) - (1 - 0.7 ^ k)) < 0.005) end
    end
  end)

  it("refuse parameters that make no sense, and take a generator", function()
    for _, call in ipairs {"exponential_(0)", "cauchy_(0, -1)", "log_normal_(0, 0)", "geometric_(0)", "geometric_(1)", "geometric_(1.5)"} do
      assert.is_false(pcall(setfenv(assert(loadstring("lt.empty(2):" .. call)), {lt = lt})), call)
    end
    local a, b = lt.Generator():manual_seed(5), lt.Generator():manual_seed(5)
    assert.is_true(lt.equal(lt.empty(9):exponential_({generator = a}), lt.empty(9):exponential_({generator = b})))
  end)
end)

describe("numbers whose parameters are tensors", function()
  local N = 200000
  local function full(v) return lt.full({N}, v) end

  -- Mean and variance lie where N numbers of that distribution have them.
  local function check(t, mean, variance, what)
    t = t:double()
    assert.is_true(math.abs(t:mean():item() - mean) < 5 * math.sqrt(variance / N), what)
    assert.is_true(math.abs(t:var():item() / variance - 1) < 0.03, what)
  end

  it("have the mean and the variance of their distributions", function()
    lt.manual_seed(11)
    for _, rate in ipairs {0.5, 3, 9.9, 10, 50, 1000} do check(lt.poisson(full(rate)), rate, rate, "poisson " .. rate) end
    for _, c in ipairs {{10, 0.3}, {100, 0.5}, {100, 0.97}, {1000, 0.02}, {40, 0.6}} do
      local y = lt.binomial(full(c[1]), full(c[2]))
      check(y, c[1] * c[2], c[1] * c[2] * (1 - c[2]), ("binomial %g %g"):format(c[1], c[2]))
      assert.is_true(y:ge(0):logical_and(y:le(c[1])):logical_and(y:eq(y:floor())):all():item())
    end
    check(lt.bernoulli(full(0.25)), 0.25, 0.1875, "bernoulli")
    check(lt.bernoulli(lt.ones(N), 0.25), 0.25, 0.1875, "bernoulli, p")
    check(full(7):bernoulli_(lt.tensor(0.25)), 0.25, 0.1875, "bernoulli_, tensor")
    check(full(7):bernoulli_(), 0.5, 0.25, "bernoulli_")
    check(lt.normal(full(3), lt.tensor(2)), 3, 4, "normal, tensors")
    check(lt.normal(full(3)), 3, 1, "normal, means")
    check(lt.normal(1, full(0.5)), 1, 0.25, "normal, deviations")
    check(lt.normal(5, 2, {N}), 5, 4, "normal, size")
  end)

  it("have single probabilities as their distributions do", function()
    lt.manual_seed(12)
    local few, many, hits = lt.poisson(full(2)), lt.poisson(full(12)), lt.binomial(full(30), full(0.5))
    local p, q, b = math.exp(-2), math.exp(-12), 0.5 ^ 30
    for k = 0, 24 do
      for name, pair in pairs {few = {few, p}, many = {many, q}, hits = {hits, b}} do
        local part = pair[1]:eq(k):to("float64"):mean():item()
        assert.is_true(math.abs(part - pair[2]) < 5 * math.sqrt(pair[2] / N) + 5 / N, name .. k)
      end
      p, q, b = p * 2 / (k + 1), q * 12 / (k + 1), b * (30 - k) / (k + 1)
    end
  end)

  it("take shapes, dtypes, certain cases, seeds and generators", function()
    assert.are.same({3, 2}, lt.normal(lt.zeros(3, 1), lt.ones(2)).shape:totable())
    assert.are.same({3, 2}, lt.binomial(lt.ones(3, 1), lt.ones(2)).shape:totable())
    assert.are.same({0, 2}, lt.poisson(lt.ones(0, 2)).shape:totable())
    assert.are.equal("float16", lt.poisson(lt.ones(2, {dtype = "float16"})).dtype)
    assert.are.equal("float64", lt.normal(0, 1, {2, 2}, {dtype = "float64"}).dtype)
    assert.are.same({0, 5, 0}, lt.binomial(lt.tensor {5, 5, 0}, lt.tensor {0, 1, 0.5}):tolist())
    assert.are.same({0, 1}, lt.bernoulli(lt.tensor {0, 1}):tolist())
    assert.are.same({{0, 1}, {0, 1}}, lt.full({2, 2}, 7):bernoulli_(lt.tensor {0, 1}):tolist())
    for _, draw in ipairs {
      function(o) return lt.poisson(lt.full({40}, 30), o) end, function(o) return lt.binomial(lt.full({40}, 90), lt.full({40}, 0.4), o) end,
      function(o) return lt.bernoulli(lt.full({40}, 0.5), o) end, function(o) return lt.normal(lt.zeros(40), lt.ones(40), o) end,
    } do
      local g = lt.Generator():manual_seed(5)
      assert.is_true(lt.equal(drawn(5, draw, {}), draw {generator = g}))
      assert.is_false(lt.equal(drawn(5, draw, {}), draw {generator = g}))
    end
  end)

  it("refuse what makes no sense", function()
    for call, text in pairs {
      ["normal(lt.ones(2), -1)"] = "normal: the standard deviation -1 must not be negative",
      ["normal(lt.ones(2), lt.tensor{-1, 1})"] = "normal: the standard deviations must not be negative",
      ["normal(0, -1, {2})"] = "normal: the standard deviation -1 must not be negative",
      ["bernoulli(lt.tensor{2})"] = "bernoulli: the probabilities must lie between 0 and 1",
      ["ones(2):bernoulli_(lt.tensor{-1, 0})"] = "bernoulli_: the probabilities must lie between 0 and 1",
      ["ones(2):bernoulli_(lt.ones(3))"] = "bernoulli_: shape {3} cannot be expanded to {2}",
      ["poisson(lt.tensor{-1})"] = "poisson: the rates must be finite and not negative",
      ["poisson(lt.tensor{0 / 0})"] = "poisson: the rates must be finite and not negative",
      ["binomial(lt.tensor{1.5}, lt.tensor{0.5})"] = "binomial: the counts must be whole numbers from 0 on",
      ["binomial(lt.tensor{2}, lt.tensor{1.5})"] = "binomial: the probabilities must lie between 0 and 1",
      ["binomial(lt.ones(2), lt.ones(3))"] = "binomial: the shapes {2} and {3} cannot be broadcast",
    } do
      local ok, message = pcall(setfenv(assert(loadstring("return lt." .. call)), {lt = lt}))
      assert.is_true(not ok and message:find(text, 1, true) ~= nil, call .. ": " .. tostring(message))
    end
  end)
end)

describe("multinomial", function()
  it("draws indices as often as their weights say, rows apart", function()
    lt.manual_seed(4)
    local w = lt.tensor {{1, 0, 3}, {0, 5, 5}}
    local drawn_ones = w:multinomial(100000, true)
    assert.are.same({2, 100000}, drawn_ones.shape:totable())
    local a, b = drawn_ones[0]:bincount(nil, 3):tolist(), drawn_ones[1]:bincount(nil, 3):tolist()
    assert.is_true(a[2] == 0 and math.abs(a[1] / 100000 - 0.25) < 0.01 and b[1] == 0 and math.abs(b[2] / 100000 - 0.5) < 0.01)
  end)

  it("draws none twice without replacement, the heavy ones first", function()
    lt.manual_seed(4)
    local w, first = lt.tensor {1, 2, 3, 0, 4}, 0
    for _ = 1, 2000 do
      local got = w:multinomial(4)
      assert.are.same({0, 1, 2, 4}, (got:sort()):tolist())
      if got[0]:item() == 4 then first = first + 1 end
    end
    assert.is_true(math.abs(first / 2000 - 0.4) < 0.04)
  end)

  it("gives the same for a seed, and refuses what has no probability", function()
    local w = lt.rand(50)
    assert.is_true(lt.equal(drawn(7, w.multinomial, w, 20), drawn(7, w.multinomial, w, 20)))
    for text, call in pairs {
      ["finite and not negative"] = function() lt.tensor {1, -1}:multinomial(1) end,
      ["4 samples without replacement from 3"] = function() lt.ones(3):multinomial(4) end,
      ["each row needs 2 weights above 0"] = function() lt.tensor {{1, 1}, {0, 1}}:multinomial(2) end,
      ["each row needs 1 weights above 0"] = function() lt.zeros(2):multinomial(3, true) end,
      ["num_samples must be above 0"] = function() lt.ones(3):multinomial(0) end,
      ["a vector or a matrix"] = function() lt.ones(1, 2, 3):multinomial(1) end,
    } do
      local ok, message = pcall(call)
      assert.is_true(not ok and message:find(text, 1, true) ~= nil, tostring(message))
    end
  end)
end)
