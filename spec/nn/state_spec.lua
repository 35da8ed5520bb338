local lt = require("lunette")
local nn = lt.nn

local function net() return nn.Sequential{{"fc", nn.Linear(2, 3)}, {"bn", nn.BatchNorm1d(3)}} end

local function keys(map)
  local out = {}
  for i, name in ipairs(lt.keys(map)) do out[i] = name end
  return out
end

local all = {"fc.weight", "fc.bias", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var", "bn.num_batches_tracked"}

describe("state_dict", function()
  it("is an ordered map of detached tensors that share memory", function()
    local m = net()
    local sd = m:state_dict()
    assert.are.same(all, keys(sd))
    assert.are.equal(7, lt.len(sd))
    assert.is_false(sd["fc.weight"].requires_grad)
    sd["fc.bias"]:fill_(5)
    assert.are.equal(5, m.fc.bias[0]:item())
    local names = {}
    for name, t in lt.items(sd) do
      names[#names + 1] = name
      assert.is_true(lt.is_tensor(t))
    end
    assert.are.same(all, names)
    assert.are.same(all, keys(sd:items() and sd))
  end)

  it("takes a destination, a prefix and keep_vars", function()
    local m = net()
    local sd = m:state_dict{prefix = "net.", keep_vars = true}
    assert.is_true(sd["net.fc.weight"] == m.fc.weight)
    local plain = {}
    m:state_dict(plain)
    assert.is_true(lt.is_tensor(plain["bn.bias"]))
  end)

  it("remembers order when entries go and come", function()
    local sd = net():state_dict()
    local bias = sd["fc.bias"]
    sd["fc.bias"] = nil
    sd["fc.bias"] = bias
    assert.are.equal("fc.bias", keys(sd)[7])
    assert.are.equal(7, lt.len(sd))
  end)
end)

describe("load_state_dict", function()
  it("copies values", function()
    local a, b = net(), net()
    local weight = b.fc.weight
    a.bn.num_batches_tracked:add_(3)
    local missing, unexpected = b:load_state_dict(a:state_dict())
    assert.are.same({{}, {}}, {missing, unexpected})
    assert.is_true(b.fc.weight == weight and weight.requires_grad)
    assert.is_true(lt.equal(a.fc.weight, b.fc.weight))
    assert.are.equal(3, b.bn.num_batches_tracked:item())
  end)

  it("converts dtypes to the module's", function()
    local a, b = net():double(), net()
    b:load_state_dict(a:state_dict())
    assert.are.equal("float32", b.fc.weight.dtype)
    assert.is_true(lt.equal(a.fc.weight:to("float32"), b.fc.weight))
  end)

  it("reports missing, unexpected and mismatched names", function()
    local sd = net():state_dict()
    local plain = {["fc.weight"] = lt.ones(3, 3), ["fc.bias"] = sd["fc.bias"], extra = lt.ones(1)}
    local ok, message = pcall(function() net():load_state_dict(plain) end)
    assert.is_false(ok)
    assert.are.equal(table.concat({
      "Error(s) in loading state_dict for Sequential:",
      '\tMissing key(s) in state_dict: "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var". ',
      '\tUnexpected key(s) in state_dict: "extra". ',
      "\tsize mismatch for fc.weight: copying a param with shape {3, 3} from checkpoint, the shape in current model is {3, 2}.",
    }, "\n"), (message:gsub("^.-:%d+: ", "")))
  end)

  it("is lenient when asked, and returns what it found", function()
    local missing, unexpected = net():load_state_dict({["fc.bias"] = lt.zeros(3), extra = lt.zeros(1)}, {strict = false})
    assert.are.same({"fc.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"}, missing)
    assert.are.same({"extra"}, unexpected)
    assert.has_error(function() net():load_state_dict({["fc.bias"] = lt.zeros(4)}, {strict = false}) end)
  end)

  it("knows versions: batch norm of version 1 had no counter", function()
    local sd = net():state_dict()
    sd["bn.num_batches_tracked"] = nil
    assert.has_error(function() net():load_state_dict(sd) end)
    local old = {}
    for name, t in lt.items(sd) do old[name] = t end
    net():load_state_dict(old)
  end)

  it("loads shared modules under each of their names", function()
    local l = nn.Linear(2, 2)
    local shared = nn.Sequential(l, l)
    shared:load_state_dict(shared:state_dict())
  end)

  it("is overridden by _load_from_state_dict", function()
    local Old = nn.Linear:subclass("Old")
    function Old:_load_from_state_dict(sd, prefix, ...)
      sd[prefix .. "weight"], sd[prefix .. "w"] = sd[prefix .. "w"], nil
      nn.Linear._load_from_state_dict(self, sd, prefix, ...)
    end
    local m = Old(2, 2)
    m:load_state_dict{{"w", lt.ones(2, 2)}, {"bias", lt.zeros(2)}}
    assert.are.equal(4, m.weight:sum():item())
  end)
end)

describe("buffers", function()
  it("that are not persistent are left out of state dicts and not missed", function()
    local m = nn.Module()
    m:register_buffer("kept", lt.ones(1))
    m:register_buffer("left", lt.ones(1), false)
    m.made = nn.Buffer(lt.ones(1))
    m.passing = nn.Buffer(lt.ones(1), {persistent = false})
    assert.are.same({"kept", "made"}, keys(m:state_dict()))
    assert.are.equal(4, #m:buffers())
    assert.are.same({{}, {}}, {m:load_state_dict(m:state_dict())})
    local _, unexpected = m:load_state_dict({kept = lt.ones(1), made = lt.ones(1), left = lt.ones(1)}, {strict = false})
    assert.are.same({"left"}, unexpected)
    assert.are.same({"kept", "made"}, keys(lt.deepcopy(m):state_dict()))
    m.passing = nn.Buffer(lt.ones(1))
    m.left = nil
    m:register_buffer("left", lt.ones(1))
    assert.are.same({"kept", "left", "made", "passing"}, keys(m:state_dict()))
  end)

  it("stay what they are when a plain tensor takes their place", function()
    local m = nn.Module()
    m.b = nn.Buffer(lt.ones(1), {persistent = false})
    m.b = lt.zeros(1)
    assert.are.same({1, 0}, {#m:buffers(), lt.len(m:state_dict())})
    assert.is_true(lt.isinstance(nn.Buffer(lt.ones(1)), nn.Buffer))
    assert.is_false(nn.Buffer(lt.ones(1)).requires_grad)
  end)
end)

describe("extra state", function()
  local Counter = nn.Module:subclass("Counter")
  function Counter:__init() self.count = 0 end
  function Counter:get_extra_state() return self.count end
  function Counter:set_extra_state(value) self.count = value end

  it("stands in the state dict and is taken back", function()
    local m = nn.Sequential(Counter(), nn.Linear(1, 1))
    m[0].count = 5
    local sd = m:state_dict()
    assert.are.same({"0._extra_state", "1.weight", "1.bias"}, keys(sd))
    local other = nn.Sequential(Counter(), nn.Linear(1, 1))
    other:load_state_dict(sd)
    assert.are.equal(5, other[0].count)
  end)

  it("is missed and unexpected like any other", function()
    assert.are.same({{"_extra_state"}, {}}, {Counter():load_state_dict({}, {strict = false})})
    local _, unexpected = nn.ReLU():load_state_dict({_extra_state = 3}, {strict = false})
    assert.are.same({"_extra_state"}, unexpected)
  end)
end)

describe("load_state_dict with assign", function()
  it("takes the tensors themselves, as parameters that want gradients as before", function()
    local m, w, b = nn.Linear(2, 2), lt.ones(2, 2, {dtype = "float64"}), nn.Parameter(lt.zeros(2))
    m.bias:requires_grad_(false)
    m:load_state_dict({weight = w, bias = b}, {assign = true})
    w:fill_(3)
    assert.are.same({{3, 3}, {3, 3}}, m.weight:tolist())
    assert.are.same({true, false, "float64"}, {m.weight.requires_grad, m.bias.requires_grad, m.weight.dtype})
    assert.is_true(m.bias == b and lt.isinstance(m.weight, nn.Parameter))
    local n = nn.BatchNorm1d(1)
    local mean = lt.ones(1)
    n:load_state_dict({running_mean = mean}, {strict = false, assign = true})
    assert.is_true(n.running_mean == mean)
    assert.has_error(function() m:load_state_dict({weight = lt.ones(1), bias = b}, {assign = true}) end)
  end)
end)

describe("hooks of state dicts", function()
  it("see and change what is written", function()
    local m, seen = nn.Sequential(nn.Linear(1, 1)), {}
    m[0]:register_state_dict_pre_hook(function(self, prefix, keep_vars) seen[1] = {self == m[0], prefix, keep_vars} end)
    local handle = m[0]:register_state_dict_post_hook(function(self, sd, prefix, metadata)
      seen[2] = {self == m[0], prefix, metadata.version}
      sd[prefix .. "extra"] = lt.ones(1)
    end)
    assert.are.same({"0.weight", "0.bias", "0.extra"}, keys(m:state_dict()))
    assert.are.same({{true, "0.", false}, {true, "0.", 1}}, seen)
    handle:remove()
    assert.are.equal(2, lt.len(m:state_dict()))
    m:register_state_dict_post_hook(function(_, sd) return sd end)
    assert.has_error(function() m:state_dict() end)
  end)

  it("see and change what is read", function()
    local m, seen = nn.Sequential(nn.Linear(1, 1)), {}
    m[0]:register_load_state_dict_pre_hook(function(self, sd, prefix, metadata, strict, missing, unexpected, errors)
      seen[1] = {self == m[0], prefix, metadata.version, strict, #missing, #unexpected, #errors}
      sd[prefix .. "weight"], sd[prefix .. "w"] = sd[prefix .. "w"], nil
    end)
    m:register_load_state_dict_post_hook(function(self, result)
      seen[2] = {self == m, #result.missing_keys, #result.unexpected_keys}
      table.remove(result.unexpected_keys)
    end)
    local missing, unexpected = m:load_state_dict{["0.w"] = lt.tensor{{7}}, ["0.bias"] = lt.zeros(1), more = lt.ones(1)}
    assert.are.equal(7, m[0].weight:item())
    assert.are.same({{}, {}}, {missing, unexpected})
    assert.are.same({{true, "0.", nil, true, 0, 0, 0}, {true, 0, 1}}, seen)
  end)
end)
