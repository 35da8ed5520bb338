--- Values for calls by chance: each is a Lua text, so that a call can be shown and typed again, and is made anew whenever it is used.

local lt = require("lunette")

local values = {}

local function self_containing()
  local t = {}
  t[1] = t
  return t
end

local function seventy()
  local t = {}
  for i = 1, 70 do t[i] = 1 end
  return t
end

local function released()
  local kept
  lt.scope(function() kept = lt.ones(2) end)
  return kept
end

local net = function() return lt.nn.Sequential(lt.nn.Linear(3, 4), lt.nn.ReLU(), lt.nn.Linear(4, 2)) end

--- name -> function: what the texts may name beside the names of Lua and lt, nn, F, optim, data.
local makers = {
  x = function() return lt.arange(6):reshape(2, 3) end,
  y = function() return lt.rand(2, 3) end,
  square = function() return lt.rand(3, 3) end,
  vector = function() return lt.rand(3) end,
  number = function() return lt.tensor(1.5) end,
  graph = function() return lt.rand(2, 3, {requires_grad = true}) * 2 end,
  leaf = function() return lt.rand(2, 3, {requires_grad = true}) end,
  ids = function() return lt.LongTensor{1, 0} end,
  id_rows = function() return lt.LongTensor{{1, 0, 1}, {0, 1, 0}} end,
  mask = function() return lt.BoolTensor{{true, false, true}, {false, true, false}} end,
  image = function() return lt.rand(2, 2, 5, 4) end,
  kernel = function() return lt.rand(2, 2, 2, 2) end,
  batch = function() return lt.rand(2, 3, 3) end,
  empty = function() return lt.zeros(0, 3) end,
  hollow = function() return lt.zeros(2 ^ 40, 0) end,
  half = function() return lt.rand(2, 3):half() end,
  bytes = function() return lt.ByteTensor{{1, 2, 3}, {4, 5, 6}} end,
  transposed = function() return lt.rand(3, 2):t() end,
  expanded = function() return lt.rand(1, 3):expand(2, 3) end,
  deep = function() return lt.ones(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1) end,
  released = released,
  seventy = seventy,
  self_containing = self_containing,
  null = function() return require("ffi").new("void *") end,
  foreign = function() return newproxy(true) end, -- no file: LuaJIT itself crashes where it compiles getmetatable(io.stdout)
  fn = function() return function(...) return ... end end,
  raising = function() return function() error("raised by the callback", 0) end end,
  reentrant = function()
    return function(gradient)
      (lt.rand(2, 3, {requires_grad = true}) ^ 2):sum():backward()
      return lt.is_tensor(gradient) and gradient * 2 or nil
    end
  end,
  net = net,
  optimizer = function() return lt.optim.SGD(net():parameters(), {lr = 0.1, momentum = 0.9}) end,
  adam = function() return lt.optim.Adam(net():parameters()) end,
  scheduler = function() return lt.optim.lr_scheduler.StepLR(lt.optim.SGD(net():parameters(), {lr = 0.1}), 2) end,
  dataset = function() return lt.data.TensorDataset(lt.rand(5, 3), lt.arange(5)) end,
  loader = function() return lt.data.DataLoader(lt.data.TensorDataset(lt.rand(5, 3), lt.arange(5)), {batch_size = 2}) end,
  generator = function() return lt.Generator() end,
  state_dict = function() return net():state_dict() end,
}
values.makers = makers

local environment = setmetatable({lt = lt, nn = lt.nn, F = lt.nn.functional, init = lt.nn.init, optim = lt.optim, data = lt.data}, {
  __index = function(_, name)
    local make = makers[name]
    if make then return make() end
    return _G[name]
  end,
})

local compiled = {}

--- What the Lua text stands for.
function values.make(text)
  local chunk = compiled[text]
  if not chunk then
    chunk = setfenv(assert(loadstring("return " .. text, "=call")), environment)
    compiled[text] = chunk
  end
  return chunk()
end

local function lines(text)
  local list = {}
  for line in text:gmatch("[^\n]+") do list[#list + 1] = line end
  return list
end

--- What a call may well be given; tensors, numbers, ... by kind.
values.plausible = {
  tensor = lines("x\ny\ny\nsquare\nvector\nnumber\ngraph\nleaf\nids\nid_rows\nmask\nimage\nkernel\nbatch\nhalf\nbytes\ntransposed\nexpanded\nempty"),
  int = lines("0\n1\n1\n2\n-1\n3"),
  float = lines("0\n1\n0.5\n2\n-1"),
  bool = lines("true\nfalse"),
  ints = lines("1\n2\n{0, 1}\n{1, 2}\n{2, 3}\n{3, 2}\n{1}\n{-1}\n{6}\nx.shape\n{2, 1, 3}\n{1, 2, 5, 4}\n{2, 2, 2, 2}"),
  dtype = lines("'float32'\n'float64'\n'int64'\n'bfloat16'\n'bool'"),
  device = lines("'cpu'"),
  enum = lines("'mean'\n'sum'\n'none'\n'constant'\n'same'\n'fan_in'\n'reflect'\n'relu'"),
  list = lines("{y, y}\n{x, x, x}\n{leaf}\n{number, number}\n{ids}\n{ids, ids}"),
  object = lines("net\nfn\nraising\nreentrant\noptimizer\ndataset\ngenerator\nstate_dict\n{}\n'out'\n{1, 2, 3}\nnn.ReLU()\nnn.Linear(3, 3)\nnn.Parameter(y)\nnet:parameters()\n{a = y}\n'a'"),
  absent = {"nil"},
}
local p = values.plausible
p.scalar, p.operand = p.float, p.tensor

--- What no call expects.
values.nonsense = lines([[
math.huge
-math.huge
0 / 0
2 ^ 53
-2 ^ 53
2 ^ 62
2 ^ 31
-1
-7
0
0.5
1e308
lt.None
true
''
'bogus'
'a\0b'
'float32'
'cuda:77'
{}
{1, 2}
{-1, -1}
{math.huge, 0}
{0 / 0}
{2 ^ 53, 2 ^ 53}
{2 ^ 40, 0}
{0, 2 ^ 40}
{0, 0, 2 ^ 31, 2 ^ 31}
{self_containing}
{0.5}
{'a'}
{lt.None}
{y}
{1, nil, 3}
{bogus = 1}
{1, bogus = 1}
{dim = math.huge}
{dim = -2}
{dim = lt.None}
{dtype = 'bogus'}
{input = y}
{input = y, dim = 2 ^ 62}
{[0.5] = 1}
seventy
self_containing
1LL
-1LL
1ULL
2ULL ^ 63
null
foreign
fn
raising
net
nn.Linear
number
empty
hollow
deep
released
half
ids
mask
bytes
expanded
graph
optimizer
coroutine.create(fn)
]])

return values
