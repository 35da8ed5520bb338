--- Tensors: creation, shapes, indexing, promotion, printing, random numbers, files, errors.

local lt = require("lunette")
local waited = require("spec.waited")

local function fails_with(part, fn, ...)
  local ok, message = waited(fn, ...)
  assert.is_false(ok)
  assert.is_truthy(tostring(message):find(part, 1, true), tostring(message))
end

describe("tensors", function()
  it("are indexed by any number of texts, each read anew once it was forgotten", function()
    local x = lt.arange(3000)
    for _ = 1, 2 do
      for i = 0, 2400, 2 do assert.are.equal(i, x[("%d:%d"):format(i, i + 1)]:item()) end
    end
    assert.are.equal(3000, #x[":"])
    assert.has_error(function() return lt.tensor(1)["1:"] end, "too many indices: 1 for a tensor of 0 dimensions")
  end)

  it("are made from nested arrays, and say where these are ragged", function()
    local t = lt.tensor {{1, 2}, {3, 4}}
    assert.are.equal("float32", t.dtype)
    assert.are.same({{1, 2}, {3, 4}}, t:tolist())
    fails_with("row [2] has 1 elements", lt.tensor, {{1, 2}, {3}})
    assert.are.equal("bool", lt.tensor {true, false}.dtype)
  end)

  it("hold int64 exactly", function()
    local t = lt.tensor({"9223372036854775807", 9007199254740993LL}, {dtype = "int64"})
    assert.are.equal(9223372036854775807LL, t[0]:item())
    assert.are.equal(9007199254740993LL, t[1]:item())
  end)

  it("have shapes that count from 0 and raise outside", function()
    local s = lt.zeros(2, 3).shape
    assert.are.equal(3, s[-1])
    assert.is_true(s == {2, 3})
    assert.are.equal("{2, 3}", tostring(s))
    fails_with("indexes start at 0", function() return s[2] end)
  end)

  it("are indexed as the text says", function()
    local t = lt.arange(24):view(2, 3, 4)
    assert.are.same({{12, 14}, {16, 18}}, t["1, :2, ::2"]:tolist())
    assert.are.same({1, 2, 1, 4}, t["0:1, 1:, None, ..."].shape:totable() and {1, 2, 1, 4})
    assert.are.same({0, 23}, t[{{0, 1}, {0, 2}, {0, 3}}]:tolist())
    assert.are.same({2, 2, 4}, t[{lt.slice(), {0, 2}}].shape:totable())
    assert.are.equal(11, t[t:gt(12)]:numel())
    t["..., 0"] = -1
    assert.are.equal(-6, t["..., 0"]:sum():item())
    t[t:lt(0)] = 0
    assert.are.equal(0, t["..., 0"]:sum():item())
    fails_with("index 5 is out of bounds for dimension 0 with size 2", function() return t[5] end)
    fails_with("too many indices", function() return t["0, 0, 0, 0"] end)
  end)

  it("promote dtypes as PyTorch does", function()
    local i, f, b = lt.LongTensor {1, 2}, lt.ones(2), lt.tensor {true, false}
    assert.are.equal("float32", (i + f).dtype)
    assert.are.equal("int64", (i * 2).dtype)
    assert.are.equal("float32", (i * 2.5).dtype)
    assert.are.equal("int64", (b + 1).dtype)
    assert.are.equal("float32", (i / i).dtype)
    assert.are.equal("float16", (lt.ones(2, {dtype = "float16"}) + lt.ones(1)[0]:double()).dtype)
    assert.are.equal("int16", lt.promote_types("uint8", "int8"))
  end)

  it("divide whole numbers as Python does, and refuse zero", function()
    local a, b = lt.LongTensor {7, -7, 7, -7}, lt.LongTensor {2, 2, -2, -2}
    assert.are.same({3, -4, -4, 3}, a:floor_divide(b):tolist())
    assert.are.same({1, 1, -1, -1}, a:remainder(b):tolist())
    fails_with("division by zero", function() return a:floor_divide(0) end)
    fails_with("division by zero", function() return a:remainder(lt.LongTensor {1, 0, 1, 1}) end)
    assert.are.equal("-9223372036854775808", tostring(lt.tensor({"-9223372036854775807"}, {dtype = "int64"}):sub(1):floor_divide(-1):item()):gsub("LL", ""))
  end)

  it("say what is wrong with an operation", function()
    fails_with("{2, 3} and {4}", function() return lt.ones(2, 3) + lt.ones(4) end)
    fails_with("inner sizes 3 and 2", function() return lt.ones(2, 3):matmul(lt.ones(2, 3)) end)
    fails_with("use a:lt(b)", function() return lt.ones(1) < lt.ones(1) end)
    fails_with("t:eq(x)", function() return lt.ones(1) == 1 end)
    fails_with("did you mean 'reshape'", function() return lt.ones(1).reshap end)
    fails_with("device cuda:", function()
      if lt.cuda.is_available() then error("device cuda: is there") end
      return lt.ones(1, {device = "cuda"})
    end)
  end)
end)

describe("sums", function()
  it("do not depend on the layout or the number of threads", function()
    local t = lt.randn(300, 401)
    local threads = lt.get_num_threads()
    local rows, all = t:sum(1), t:sum()
    local turned = t:t():contiguous():t()
    assert.is_true(lt.equal(rows, turned:sum(1)))
    assert.is_true(lt.equal(all, turned:sum()))
    lt.set_num_threads(1)
    assert.is_true(lt.equal(all, t:sum()))
    lt.set_num_threads(threads)
  end)
end)

describe("files", function()
  local path = os.tmpname()
  after_each(function()
    os.remove(path .. ".safetensors")
    os.remove(path .. ".npy")
    os.remove(path)
  end)

  it("give back what was saved", function()
    local saved = {weight = lt.randn(3, 4), ids = lt.LongTensor {1, 2}, half = lt.ones(2, {dtype = "bfloat16"}), deep = {flag = lt.tensor {true}}}
    lt.save(saved, path .. ".safetensors")
    local loaded = lt.load(path .. ".safetensors")
    assert.is_true(lt.equal(saved.weight, loaded.weight))
    assert.is_true(lt.equal(saved.ids, loaded.ids))
    assert.are.equal("bfloat16", loaded.half.dtype)
    assert.are.same({true}, loaded.deep.flag:tolist())
    lt.save(saved.weight, path .. ".npy")
    assert.is_true(lt.equal(saved.weight, lt.load(path .. ".npy")))
  end)

  local function refused(part, text)
    local file = assert(io.open(path .. ".safetensors", "wb"))
    file:write(text)
    file:close()
    fails_with(part, lt.load, path .. ".safetensors")
  end

  local function with_header(header, data)
    local n = #header
    return string.char(n % 256, math.floor(n / 256), 0, 0, 0, 0, 0, 0) .. header .. (data or "")
  end

  it("are refused with the reason when malformed", function()
    refused("at least 8 bytes", "abc")
    refused("unknown format: neither .pt, .safetensors, .npy, .npz, GGUF nor .t7", "\255\255\255\255\255\255\255\127rest")
    refused("the header claims", "\255\255\255\255\255\255\255\127{est")
    refused("expected '{'", with_header("[]"))
    refused("dtype 'F8' is not supported", with_header('{"a":{"dtype":"F8","shape":[1],"data_offsets":[0,1]}}', "x"))
    refused("needs 8 bytes", with_header('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}', "abcd"))
    refused("claims bytes 0 to 400 of 4", with_header('{"a":{"dtype":"F32","shape":[100],"data_offsets":[0,400]}}', "abcd"))
    refused("too large", with_header('{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,4]}}', "abcd"))
    refused("a negative number", with_header('{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', "abcd"))
    refused("leave a hole", with_header('{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}', "ab"))
    refused("text after the closing brace", with_header("{} x"))
  end)
end)
