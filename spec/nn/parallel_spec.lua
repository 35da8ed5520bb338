--- nn.DataParallel and nn.parallel, in a process of its own with three devices of the stand-in.

local lt = require("lunette")
local child = require("spec.child")
local nn = lt.nn

local here = debug.getinfo(1, "S").source:match("^@(.*)spec/nn/parallel_spec%.lua$")
local plugin = os.getenv("LUNETTE_STANDIN") or (here == "" and "." or here) .. "/build/liblunette_cuda_host.so"

-- Runs `source`, which prints "good" at its end, with three devices.
local function on_three(source)
  local status, output = child.run([[
local nn, F, optim = lt.nn, lt.nn.functional, lt.optim
local function same(a, b, what) assert(a:cpu():allclose(b:cpu(), {atol = 1e-6}), what) end
local function refused(message, fn, ...)
  local ok, said = pcall(fn, ...)
  assert(not ok and said:find(message, 1, true), tostring(said))
end
]] .. source .. "\nprint('good')", ("LUNETTE_STANDIN_DEVICES=3 LUNETTE_CUDA_PLUGIN=%s"):format(plugin))
  assert.are.equal("good\n", output)
  assert.are.equal(0, status)
end

describe("nn.DataParallel", function()
  it("without a device calls the module as it is", function()
    local before = lt.get_default_device()
    if before ~= "cpu" then return end
    local net = nn.DataParallel(nn.Linear(2, 3), {})
    local x = lt.randn(4, 2)
    assert.is_true(net(x):equal(net.module(x)))
    assert.are.same({"module.weight", "module.bias"}, (function()
      local names = {}
      for name in net:state_dict():items() do names[#names + 1] = name end
      return names
    end)())
  end)

  local file = io.open(plugin)
  if not file then
    pending("on several devices: there is no stand-in")
    return
  end
  file:close()

  it("gives what the module gives, with all gradients, for batches that do not divide evenly", function()
    on_three[[
local net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)):to("cuda:0")
local twin = lt.deepcopy(net)
local parallel = nn.DataParallel(net)
for _, rows in ipairs{7, 6, 2, 1} do
  local x = lt.randn(rows, 3, {device = "cuda:0", requires_grad = true})
  local y, z = parallel(x), twin(x)
  assert(y.device == "cuda:0")
  same(y, z, "output")
  y:square():sum():backward()
  local grad = x.grad
  x.grad = nil
  z:square():sum():backward()
  same(grad, x.grad, "gradient")
  for i, p in lt.enumerate(net:parameters()) do same(p.grad, twin:parameters()[i + 1].grad, "parameter " .. i) end
  net:zero_grad()
  twin:zero_grad()
end]]
  end)

  it("trains as the module does, keeps the first device's statistics and shared parameters", function()
    on_three[[
local Tied = nn.Module:subclass("Tied")
function Tied:__init() self.a, self.norm, self.b = nn.Linear(4, 4, {bias = false}), nn.BatchNorm1d(4), nn.Linear(4, 4) self.b.weight = self.a.weight end
function Tied:forward(x) return self.b(self.norm(self.a(x))) end
local net = Tied():to("cuda:0")
local parallel = nn.DataParallel(net, {0, "cuda:2"}, {output_device = 2})
local twin = lt.deepcopy(net)
local x = lt.randn(6, 4, {device = "cuda:0"})
local y = parallel(x)
assert(y.device == "cuda:2")
twin(x["0:3"])
same(net.norm.running_mean, twin.norm.running_mean, "mean")
assert(net.norm.num_batches_tracked:item() == 1)
local weight = net.a.weight
y:square():sum():backward()
assert(net.a.weight == weight and net.b.weight == weight and weight.grad.device == "cuda:0")
optim.SGD(parallel:parameters(), {lr = 0.1}):step()
]]
  end)

  it("cuts tables, gives the rest to each, and gathers several results", function()
    on_three[[
local Net = nn.Module:subclass("Net")
function Net:forward(x, options) return {sum = x.a + options.b, n = nil}, x.a:sum(), options.word, nil, 5 end
local net = nn.DataParallel(Net())
local a = lt.arange(6, {device = "cuda:0"})
local out, sums, word, none, five = net({a = a}, {b = lt.ones(6, {device = "cuda:0"}), word = "w"})
same(out.sum, a + 1, "sum")
assert(sums:sum():item() == 15 and sums.shape == lt.Size{3} and word == "w" and none == nil and five == 5)
local parts = nn.parallel.scatter({a, 3}, {0, 1})
assert(#parts == 2 and parts[2][1].device == "cuda:1" and parts[2][2] == 3)
same(nn.parallel.gather({parts[1][1], parts[2][1]}, "cuda:1"), a, "gather")
same(nn.parallel.data_parallel(nn.Identity(), {a}, {1, 2}, {output_device = 0}), a, "data_parallel")
same(nn.DataParallel(nn.Identity(), {0, 1}, {dim = 1})(a:view(2, 3)), a:view(2, 3), "dim")
]]
  end)

  it("says what is wrong", function()
    on_three[[
refused("DataParallel: the module must have its parameters and buffers on cuda:0 (device_ids[0]), one of them is on cpu",
  nn.DataParallel(nn.Linear(2, 2)), lt.ones(4, 2))
refused("DataParallel: device_ids holds numbers of CUDA devices or names such as \"cuda:0\", not the string \"cpu\"", nn.DataParallel, nn.Linear(1, 1), {"cpu"})
refused("gather: there is no output", nn.parallel.gather, {}, 0)
refused("gather: output 1 is 3 where the first is a tensor", nn.parallel.gather, {lt.ones(1), 3}, 0)
refused("scatter: a tensor without dimensions cannot be cut", nn.parallel.scatter, lt.tensor(1), {0, 1})
]]
  end)
end)
