--- .pt: what lt.save writes lt.load gives back, and what PyTorch wrote it reads. The files of spec/fixtures/files were written by generate.py there.

local lt = require("lunette")
local child = require("spec.child")
local nn = lt.nn

local fixtures = debug.getinfo(1, "S").source:match("^@(.*)io/torch_spec%.lua$") .. "fixtures/files/"
local cpu = {device = "cpu"}
local folder, path

local function before()
  folder = child.folder()
  path = folder .. "/x.pt"
end

local function after() child.remove_folder(folder) end

local function given_back(object, options)
  lt.save(object, path)
  return lt.load(path, options or {})
end

local function refused(part, fn, ...)
  local ok, message = pcall(fn, ...)
  assert.is_false(ok)
  assert.is_truthy(message:find(part, 1, true), message)
end

local function address(t) return tonumber(require("lunette.ffi").C.ln_tensor_storage_id(t._p)) end

local function offset(t) return tonumber(require("lunette.ffi").C.ln_tensor_storage_offset(t._p)) end

describe("a .pt file gives back", function()
  before_each(before)
  after_each(after)

  it("numbers, each as it was", function()
    for _, n in ipairs{0, 1, 255, 256, 65535, 65536, -1, -300, 2 ^ 31 - 1, 2 ^ 31, -2 ^ 31, -2 ^ 31 - 1, 2 ^ 53, -2 ^ 53, 2 ^ 60, 0.1, -1e300, 5e-324, math.huge, -math.huge} do
      assert.are.equal(n, given_back(n))
    end
    assert.are.equal(-math.huge, 1 / given_back(-0.0))
    local nan = given_back(0 / 0)
    assert.is_true(nan ~= nan)
    for _, n in ipairs{9007199254740993LL, -9223372036854775807LL - 1, 9223372036854775807LL, 18446744073709551615ULL} do assert.is_true(given_back(n) == n) end
  end)

  it("strings of any bytes, booleans and None", function()
    for _, text in ipairs{"", "abc", "\195\169\0\n", "\255\254\0x", ("x"):rep(70000)} do assert.are.equal(text, given_back(text)) end
    assert.are.equal(true, given_back(true))
    assert.are.equal(false, given_back(false))
    assert.is_nil(given_back(lt.None))
  end)

  it("arrays, tables, and both in one another", function()
    local cases = {
      {}, {1, 2, 3}, {{}, {1}, {{2}}}, {a = 1, b = {c = "x"}}, {[0] = "zero", [1] = "one"}, {[-3] = 1, [0.5] = 2, x = 3}, {n = 3, 1, nil, 3}, {n = 5}, {1, 2, x = 3},
      {[1] = "a", [3] = "c"}, {[1] = 1, n = 1e9}, {["1"] = "text", [1] = "number"},
    }
    for _, case in ipairs(cases) do assert.are.same(case, given_back(case)) end
    assert.are.same({n = 3, "a", nil, "c"}, given_back({"a", lt.None, "c"}))
    assert.are.same({a = 1}, given_back({a = 1, b = lt.None}))
    assert.are.equal(8, #given_back({1, 2, 3, 4, 5, 6, 7, 8}))
  end)

  it("what occurs twice as one, and what contains itself", function()
    local inner, t = {1}, lt.ones(2, cpu)
    local back = given_back({a = inner, b = inner, s = t, u = t})
    assert.is_true(back.a == back.b)
    assert.is_true(back.s == back.u)
    local loop = {}
    loop.list = {loop}
    back = given_back(loop)
    assert.is_true(back.list[1] == back)
  end)

  it("tensors of every dtype, bit for bit", function()
    for _, dtype in ipairs{"float32", "float64", "float16", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "bool"} do
      local t = lt.tensor({0, 1, 2, 100}, cpu):to(dtype)
      local back = given_back(t)
      assert.are.equal(dtype, back.dtype)
      assert.is_true(lt.equal(t, back))
    end
    assert.is_true(given_back(lt.tensor({9007199254740993LL}, cpu)):eq(lt.tensor({9007199254740993LL}, cpu)):all():item())
  end)

  it("layouts: strides, offsets, no dimensions, no elements, elements that occur often", function()
    local base = lt.arange(24, cpu):reshape(2, 3, 4)
    for _, t in ipairs{base:permute(2, 0, 1), base["1, :, ::2"], base["1:, 1:, 1"], lt.tensor(5, cpu), lt.zeros(0, 3, cpu), lt.ones(1, cpu):expand(4)} do
      local back = given_back(t)
      assert.is_true(lt.equal(t, back))
      assert.is_true(t:stride() == back:stride())
      assert.are.equal(offset(t), offset(back))
    end
  end)

  it("tensors over one storage as such", function()
    local base = lt.arange(6, cpu):reshape(2, 3)
    local back = given_back({base = base, turned = base:t(), row = base[1], other = base:clone()})
    assert.are.equal(address(back.base), address(back.turned))
    assert.are.equal(address(back.base), address(back.row))
    assert.are_not.equal(address(back.base), address(back.other))
    back.row:fill_(9)
    assert.are.equal(9, back.turned[2][1]:item())
  end)

  it("whether gradients are wanted, and parameters", function()
    local leaf = lt.ones(2, {requires_grad = true, device = "cpu"})
    local back = given_back({leaf = leaf, made = leaf * 2, plain = lt.ones(2, cpu), p = nn.Parameter(lt.ones(2, cpu)), f = nn.Parameter(lt.ones(2, cpu), false)})
    assert.are.same({true, true, false, true, false},
      {back.leaf.requires_grad, back.made.requires_grad, back.plain.requires_grad, back.p.requires_grad, back.f.requires_grad})
    assert.is_true(back.made.is_leaf)
    assert.is_true(lt.isinstance(back.p, nn.Parameter) and lt.isinstance(back.f, nn.Parameter) and not lt.isinstance(back.leaf, nn.Parameter))
    back.leaf:sum():backward()
    assert.are.same({1, 1}, back.leaf.grad:tolist())
  end)

  it("sizes", function() assert.is_true(given_back({s = lt.zeros(2, 0, 3).shape}).s == lt.Size(2, 0, 3)) end)

  it("state dicts in their order, with what says their version", function()
    local net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    local sd = net:state_dict()
    local back = given_back(sd)
    assert.are.same({unpack(lt.keys(sd))}, {unpack(lt.keys(back))})
    local ordered = require("lunette.nn.ordered")
    assert.are.same(ordered.metadata(sd), ordered.metadata(back))
    local twin = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    twin:load_state_dict(back)
    local x = lt.randn(4, 2)
    assert.is_true(lt.equal(net(x), twin(x)))
  end)

  it("the same bytes for the same values, however often it is written", function()
    local object = {a = {0.9, 0.999}, b = {x = 1, y = {2, 3}}, c = {n = 3, 1, nil, 3}, d = {}, e = {1, 2, 3, 4, 5, 6}, f = {[0] = {x = 1}}, g = {"a", "b"}}
    local first
    for _ = 1, 300 do
      lt.save(object, path)
      local file = assert(io.open(path, "rb"))
      first = first or file:read("*a")
      file:seek("set")
      assert.is_true(first == file:read("*a"))
      file:close()
    end
  end)

  it("the same bytes for equal values under any name", function()
    local object = {b = 1, a = {lt.ones(3, cpu)}, [3] = "x", [-1] = "y"}
    lt.save(object, path)
    lt.save(object, folder .. "/y.pth")
    assert.are.equal("same", child.shell(("cmp %s %s/y.pth && echo same"):format(path, folder)))
  end)
end)

describe("lt.save to .pt refuses", function()
  before_each(before)
  after_each(after)

  local deep = {}
  for _ = 1, 600 do deep = {deep} end

  local cases = {
    {"a module", function() return nn.Linear(1, 1) end, "save: a module cannot be saved; save its state_dict(): lt.save(net:state_dict(), path)"},
    {"a module within", function() return {net = {nn.Linear(1, 1)}} end, "save: net/1: a module cannot be saved; save its state_dict()"},
    {"an optimizer", function() return {lt.optim.SGD({lt.ones(1)}, {lr = 1})} end, "save: 1: an object of the class SGD cannot be saved; save its state_dict()"},
    {"a generator", function() return {g = lt.Generator()} end, "save: g: a generator cannot be saved; save its get_state()"},
    {"a function", function() return {x = {f = print}} end, "save: x/f: a function cannot be saved"},
    {"a class", function() return {c = nn.Linear} end, "save: c: a class cannot be saved"},
    {"a key that is neither name nor number", function() return {x = {[true] = 1}} end, "save: x: the key true is neither a name nor a number"},
    {"a table that does more than hold", function() return {setmetatable({}, {__index = {}})} end, "save: 1: a table with a metatable cannot be saved; save a plain one"},
    {"tables nested too deep", function() return deep end, "tables are nested more than 500 deep"},
  }

  for _, case in ipairs(cases) do
    it(case[1] .. ", and leaves the file as it was", function()
      lt.save("before", path)
      refused(case[3], lt.save, case[2](), path)
      assert.are.equal("before", lt.load(path))
    end)
  end
end)

describe("a file of PyTorch's", function()
  for _, name in ipairs{"values.pt", "values_4.pt", "values_legacy.pt"} do
    describe(name, function()
      local v

      before_each(function() v = lt.load(fixtures .. name, "cpu") end)

      it("holds its tensors with layout, storage and gradients", function()
        local t = v.tensors
        assert.are.same({{0, 1, 2, 3}, {4, 5, 6, 7}, {8, 9, 10, 11}}, t.base:tolist())
        assert.is_true(t.turned:stride() == {1, 4} and lt.equal(t.turned, t.base:t()))
        assert.are.same({4, 5, 6, 7}, t.row:tolist())
        assert.are.same({2, 6, 10}, t.column:tolist())
        for _, view in ipairs{"turned", "row", "column"} do assert.are.equal(address(t.base), address(t[view])) end
        assert.is_true(t.expanded:stride() == {0} and t.expanded:numel() == 4)
        assert.are.equal(2.5, t.scalar:item())
        assert.is_true(t.empty.shape == {0, 3})
        assert.are.same({true, true, false}, {t.wants.requires_grad, t.parameter.requires_grad, t.frozen.requires_grad})
        assert.is_true(lt.isinstance(t.parameter, nn.Parameter) and lt.isinstance(t.frozen, nn.Parameter) and not lt.isinstance(t.wants, nn.Parameter))
        assert.are.same({1, 0, 0, 0, 0, 0, 0, 0, 2}, {unpack(t.storage:tolist(), 1, 9)})
      end)

      it("holds every dtype", function()
        for dtype, t in pairs(v.dtypes) do
          assert.are.equal(dtype, t.dtype)
          assert.are.same(dtype == "bool" and {false, true, true} or {0, 1, 2}, t:tolist())
        end
      end)

      it("holds plain values", function()
        local p = v.plain
        assert.are.same({7, -300, 2 ^ 40, 0.1, -math.huge}, {p.int, p.negative, p.large, p.float, p.infinite})
        assert.is_true(p.exact == 4611686018427387905LL and p.unsigned == 18446744073709551615ULL and p.least == -9223372036854775807LL - 1)
        assert.is_true(p.nan ~= p.nan and p["true"] == true and p["false"] == false and p.none == nil)
        assert.are.same({"a\195\169\n", "\0\255", "float16", "cuda:1"}, {p.text, p.bytes, p.dtype, p.device})
        assert.are.same({n = 3, 1, nil, 3}, p.list)
        assert.are.same({1, {2, "x"}}, p.tuple)
        assert.are.same({a = true, [5] = true}, p.set)
        assert.is_true(p.size == {2, 3} and p.shared[1] == p.shared[2])
        assert.are.same({a = 2, b = 1}, p.counter)
        assert.are.same({"five", "half", {{}, {}, {}}}, {p[5], p[0.5], p.empty})
        assert.is_true(v.cycle[1] == v.cycle)
      end)

      it("keeps the order and the versions of a state dict", function()
        assert.are.same({"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}, {unpack(lt.keys(v.map))})
        assert.are.same({[""] = {version = 2}}, require("lunette.nn.ordered").metadata(v.map))
        assert.are.same({"tensors", "dtypes", "plain", "map", "cycle"}, {unpack(lt.keys(v))})
        nn.BatchNorm1d(2):load_state_dict(v.map)
      end)
    end)
  end

  it("resumes a run: model and optimizer go on as they would there", function()
    local run = lt.load(fixtures .. "run.pt")
    local net = nn.Linear(2, 1)
    local opt = lt.optim.Adam(net:parameters(), {lr = 0.1})
    net:load_state_dict(run.model)
    opt:load_state_dict(run.optimizer)
    assert.are.equal(0.5, opt.param_groups[1].lr)
    net(lt.tensor{{3, -1}}):sum():backward()
    opt:step()
    for name, t in lt.items(run.after) do assert.is_true(lt.allclose(net:state_dict()[name]:cpu(), t, 1e-6, 1e-7)) end
  end)

  it("of TorchScript gives its parameters and buffers by name", function()
    local sd = lt.load(fixtures .. "script.pt")
    assert.are.same({"inner.fc.bias", "inner.fc.weight", "inner.steps", "scale"}, {unpack(lt.keys(sd))})
    assert.are.same({{4}, {2}}, {sd["inner.steps"]:tolist(), sd.scale:tolist()})
    assert.is_true(sd["inner.fc.weight"].shape == {3, 2} and not sd.scale.requires_grad)
  end)

  for name, part in pairs{
    complex = "it holds complex numbers, which Lunette does not have", sparse = "it holds sparse tensors", sparse_csr = "it holds sparse tensors",
    quantized = "it holds quantized tensors", uint16 = "it holds the dtype uint16", meta = "tensors without elements of their own (device meta)",
    module = "byte 2: the name torch.nn.modules.linear.Linear is not one of a file of tensors", large = "a whole number of more than 64 bits",
  } do
    it("is refused with the reason: " .. name, function()
      refused(("%s.pt: %s/data.pkl, byte "):format(name, name), lt.load, fixtures .. name .. ".pt")
      refused(part, lt.load, fixtures .. name .. ".pt")
    end)
  end
end)

describe("a state dict of what stood inside another module", function()
  local strip = nn.utils.consume_prefix_in_state_dict_if_present

  it("loses its prefix, in names and versions, in order", function()
    local net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    local wrapped = nn.ModuleDict{module = net}:state_dict()
    assert.is_true(strip(wrapped, "module.") == wrapped)
    assert.are.same({unpack(lt.keys(net:state_dict()))}, {unpack(lt.keys(wrapped))})
    assert.are.equal(2, require("lunette.nn.ordered").metadata(wrapped)["1"].version)
    nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)):load_state_dict(wrapped)
  end)

  it("keeps other names, and is refused when two would be one", function()
    assert.are.same({a = 1, b = 2}, strip({["x.a"] = 1, b = 2}, "x."))
    refused("two entries would be named 'a'", strip, {["x.a"] = 1, a = 2}, "x.")
    refused("argument 'prefix' is missing", strip, {})
  end)
end)

describe("lt.load of a .pt file", function()
  before_each(before)
  after_each(after)

  it("takes names: entries alone, in their tables", function()
    local tree = {model = {["fc/w"] = lt.ones(2, cpu), b = lt.zeros(3, cpu)}, list = {lt.ones(1, cpu), lt.ones(4, cpu)}, epoch = 3}
    lt.save(tree, path)
    local back = lt.load(path, {names = {"model/fc/w", "list/2", "epoch"}})
    assert.are.same({2, 4, 3}, {back.model["fc/w"]:numel(), back.list[2]:numel(), back.epoch})
    assert.is_nil(back.model.b)
    assert.is_nil(back.list[1])
    assert.are.same({}, lt.load(path, {names = {}}))
    refused("there is no entry 'model/c'", lt.load, path, {names = {"model/c"}})
    refused("load: names must be an array of strings, entry 1 is 3", lt.load, path, {names = {3}})
  end)

  it("keeps the order of a map whose names are taken", function()
    lt.save(nn.Linear(2, 3):state_dict(), path)
    local map = lt.load(path, {names = {"bias"}})
    assert.are.same({"bias"}, {unpack(lt.keys(map))})
    assert.is_true(require("lunette.nn.ordered").is_map(map))
  end)

  it("takes map_location: a device, a table, a function", function()
    local v = fixtures .. "values.pt"
    lt.save({lt.ones(3, cpu)}, path)
    assert.are.equal("cpu", lt.load(path, "cpu")[1].device)
    assert.are.equal("cpu", lt.load(path, {map_location = {cpu = "cpu"}})[1].device)
    local asked = {}
    local back = lt.load(path, {map_location = function(bytes, location)
      asked[#asked + 1] = {bytes:numel(), bytes.dtype, location}
      return bytes
    end})
    assert.are.same({{12, "uint8", "cpu"}}, asked)
    assert.are.same({1, 1, 1}, back[1]:tolist())
    assert.are.equal("cpu", lt.load(path, {map_location = function() return "cpu" end})[1].device)
    refused("map_location must name devices such as", lt.load, v, {map_location = "tpu"})
    refused("map_location must name devices such as", lt.load, v, {map_location = {cpu = 3.5}})
    refused("map_location must return the storage, moved or not, a device or nil, not 3", lt.load, v, {map_location = function() return 3 end})
  end)

  it("puts tensors of devices that are not there on the cpu, others where they were", function()
    local device = lt.get_default_device()
    lt.save(lt.ones(3, {device = device}), path)
    assert.are.equal(device, lt.load(path).device)
    assert.are.equal("cpu", lt.load(path, "cpu").device)
    -- the device that a file names is text in its pickle
    lt.save(lt.ones(3, cpu), path)
    local file = assert(io.open(path, "rb"))
    local text = file:read("*a")
    file:close()
    file = assert(io.open(path, "wb"))
    file:write((text:gsub("X\3%z%z%zcpu", "X\3\0\0\0mps")))
    file:close()
    local asked
    assert.are.equal("cpu", lt.load(path, {map_location = function(_, location) asked = location end}).device)
    assert.are.equal("mps", asked)
    assert.are.same({1, 1, 1}, lt.load(path):tolist())
  end)

  it("maps the file or reads it, and changes stay in the process", function()
    lt.save({lt.arange(100000, cpu)}, path)
    for _, mapped in ipairs{true, false} do
      local live = lt.memory_stats().live
      local t = lt.load(path, {mmap = mapped})[1]
      assert.are.equal(mapped and 0 or 1, math.floor((lt.memory_stats().live - live) / 400000))
      t:add_(1)
      assert.are.equal(5000050000, t:to("float64"):sum():item())
      assert.are.equal(4999950000, lt.load(path)[1]:to("float64"):sum():item())
    end
  end)

  it("keeps what is mapped when another file takes its place", function()
    lt.save({lt.arange(100000, cpu)}, path)
    local t = lt.load(path)[1]
    lt.save({lt.zeros(5, cpu)}, path)
    os.remove(path)
    assert.are.equal(4999950000, t:to("float64"):sum():item())
  end)

  it("opens large files at once", function()
    local big = folder .. "/big.pt"
    lt.save({lt.zeros(2 ^ 26, cpu)}, big) -- 256 MB
    local start = os.clock()
    local t = lt.load(big)[1]
    assert.is_true(os.clock() - start < 0.05)
    assert.are.equal(0, t[12345]:item())
  end)

  it("runs nothing: weights_only cannot be given up", function()
    lt.save(1, path)
    assert.are.equal(1, lt.load(path, {weights_only = true}))
    refused("load: weights_only = false would run code that the file brings", lt.load, path, {weights_only = false})
  end)
end)
