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
