--- .npz, GGUF and .t7 files: what they hold, and what is refused by name.

local lt = require("lunette")
local child = require("spec.child")
local samples = require("spec.io.samples")

local fixtures = debug.getinfo(1, "S").source:match("^@(.*)io/formats_spec%.lua$") .. "fixtures/files/"
local raw, u32, u64, text, gguf, t7_text = samples.raw, samples.u32, samples.u64, samples.text, samples.gguf, samples.t7_text
local cpu = {device = "cpu"}
local folder, path

local function before() folder = child.folder() path = folder .. "/x" end

local function after() child.remove_folder(folder) end

local function write(content)
  local file = assert(io.open(path, "wb"))
  file:write(content)
  file:close()
end

local function refused(part, fn, ...)
  local ok, message = pcall(fn, ...)
  assert.is_false(ok)
  assert.is_truthy(message:find(part, 1, true), message)
end

-- What is wrong with a file -> {its bytes, what the error says beside its path}.
local function all_refused(cases)
  for what, case in pairs(cases) do
    it("is refused for " .. what, function()
      write(case[1])
      refused(path .. ": ", lt.load, path)
      refused(case[2], lt.load, path)
    end)
  end
end

describe("an .npz file", function()
  before_each(before)
  after_each(after)

  for _, name in ipairs{"stored", "packed"} do
    it("of NumPy gives its arrays by name: " .. name, function()
      local v = lt.load(fixtures .. name .. ".npz")
      assert.are.same({{0, 1, 2}, {3, 4, 5}}, v.a:tolist())
      assert.are.same({{0, 1, 2}, {3, 4, 5}}, v.b:tolist())
      assert.is_true(v.b:stride() == {1, 2} and v.b.dtype == "int64")
      assert.are.equal(true, v["dir/c"]:item())
      assert.is_true(v.d.shape == {0, 2} and v.d.dtype == "float64")
      assert.are.same({"b"}, {unpack(lt.keys(lt.load(fixtures .. name .. ".npz", {names = {"b"}})))})
    end)
  end

  it("gives back what was saved, from any layout", function()
    path = folder .. "/x.npz"
    local t = lt.arange(6, cpu):reshape(2, 3)
    lt.save({a = t, turned = t:t(), one = lt.tensor(3, {dtype = "int16", device = "cpu"}), none = lt.zeros(0, 2, cpu)}, path)
    local v = lt.load(path)
    assert.is_true(lt.equal(t, v.a) and lt.equal(t:t(), v.turned) and v.one:item() == 3 and v.none.shape == {0, 2})
  end)

  it("holds tensors by name alone", function()
    path = folder .. "/x.npz"
    refused("save: an .npz file holds a table of tensors by name, not a tensor of shape {1}", lt.save, lt.ones(1), path)
    refused("save: an .npz file holds tensors by name, 1 is none", lt.save, {lt.ones(1)}, path)
    refused("save: x is no tensor but 3; .npz holds tensors only", lt.save, {x = 3}, path)
    refused("save: .npy has no dtype bfloat16", lt.save, {x = lt.ones(1, {dtype = "bfloat16"})}, path)
    assert.are.equal("0", child.shell("ls -A " .. folder .. " | wc -l"))
  end)
end)

-- GGUF -----------------------------------------------------------------------------------------------------------------------------------

describe("a GGUF file", function()
  before_each(before)
  after_each(after)

  it("gives metadata of every type", function()
    write(gguf({
      text("u8") .. u32(0) .. "\200", text("i8") .. u32(1) .. "\200", text("u16") .. u32(2) .. "\1\2", text("i16") .. u32(3) .. "\255\255", text("u32") .. u32(4, 4294967295),
      text("i32") .. u32(5, 4294967295), text("f32") .. u32(6) .. raw("float", 0.5), text("yes") .. u32(7) .. "\1", text("name") .. u32(8) .. text("llama"),
      text("list") .. u32(9, 8) .. u64(2) .. text("a") .. text(""), text("deep") .. u32(9, 9) .. u64(1) .. u32(4) .. u64(2) .. u32(7, 8), text("u64") .. u32(10) .. u64(2 ^ 40),
      text("i64") .. u32(11) .. raw("int64_t", -1), text("f64") .. u32(12) .. raw("double", -0.1), text("nan") .. u32(12) .. ("\255"):rep(8),
    }, {}))
    local m = lt.load(path).metadata
    assert.are.same({200, -56, 513, -1, 4294967295, -1, 0.5}, {m.u8, m.i8, m.u16, m.i16, m.u32, m.i32, m.f32})
    assert.are.same({true, "llama", {"a", ""}, {{7, 8}}, 2 ^ 40, -1, -0.1}, {m.yes, m.name, m.list, m.deep, m.u64, m.i64, m.f64})
    assert.is_true(m.nan ~= m.nan)
  end)

  it("gives tensors in order, plain ones as they are and blocks as the numbers they stand for", function()
    local q4, q8 = {}, {}
    for i = 0, 15 do q4[i + 1] = string.char(i + 16 * (15 - i)) end
    for i = 0, 31 do q8[i + 1] = string.char((i - 16) % 256) end
    write(gguf({}, {
      {"f", {3, 2}, 0, raw("float", 1, 2, 3, 4, 5, 6)}, {"h", {2}, 1, "\0\60\0\192"}, {"b", {1}, 30, "\128\63"}, {"i", {2}, 26, raw("int32_t", -1, 7)},
      {"q4", {32, 2}, 2, ("\0\56" .. table.concat(q4)):rep(2)}, {"q8", {32}, 8, "\0\64" .. table.concat(q8)},
    }))
    local t = lt.load(path).tensors
    assert.are.same({"f", "h", "b", "i", "q4", "q8"}, {unpack(lt.keys(t))})
    assert.are.same({{1, 2, 3}, {4, 5, 6}}, t.f:tolist())
    assert.are.same({{1, -2}, {1}, {-1, 7}}, {t.h:tolist(), t.b:tolist(), t.i:tolist()})
    assert.are.same({"float16", "bfloat16", "int32", "float32"}, {t.h.dtype, t.b.dtype, t.i.dtype, t.q4.dtype})
    assert.is_true(t.q4.shape == {2, 32} and lt.equal(t.q4[0], t.q4[1]))
    for i = 0, 15 do
      assert.are.equal((i - 8) * 0.5, t.q4[0][i]:item())
      assert.are.equal((15 - i - 8) * 0.5, t.q4[0][i + 16]:item())
    end
    for i = 0, 31 do assert.are.equal((i - 16) * 2, t.q8[i]:item()) end
  end)

  all_refused{
    ["version 1"] = {gguf({}, {}, 1), "GGUF of version 1; 2 and 3 are read"},
    ["another type"] = {gguf({}, {{"a", {32}, 12, ""}}), "the tensor 'a' is of type 12; F32, F16"},
    ["half a block"] = {gguf({}, {{"a", {31}, 8, ""}}), "the rows of the tensor 'a' are no whole blocks of 32"},
    ["data beyond the end"] = {gguf({}, {{"a", {8}, 0, "abcd"}}), "the tensor 'a' claims bytes 64 to 96 of 68"},
    ["a name that stands twice"] = {gguf({}, {{"a", {1}, 24, "x"}, {"a", {1}, 24, "x"}}), "the name 'a' stands twice"},
    ["sizes without end"] = {gguf({}, {{"a", {2 ^ 40, 2 ^ 40}, 0, ""}}), "the tensor 'a' is too large"},
    ["a list without end"] = {"GGUF" .. u32(3) .. u64(0, 1) .. text("l") .. u32(9, 0) .. u64(2 ^ 50), "an array claims 1125899906842624 entries"},
    ["metadata of no type"] = {gguf({text("x") .. u32(99)}, {}), "metadata of the unknown type 99"},
    ["lists in lists"] = {gguf({text("x") .. u32(9) .. (u32(9) .. u64(1)):rep(40)}, {}), "arrays are nested more than 16 deep"},
  }
end)

-- Torch7 ---------------------------------------------------------------------------------------------------------------------------------

describe("a .t7 file", function()
  before_each(before)
  after_each(after)

  for form, content in pairs{binary = samples.t7(), ascii = samples.t7_ascii} do
    it("gives tables, tensors and objects: " .. form, function()
      write(content)
      local v = lt.load(path)
      assert.are.same({1.5, "x", true}, {v[1], v.name, v.flag})
      assert.are.same({{1, 3, 5}, {2, 4, 6}}, v.t:tolist())
      assert.is_true(v.t:stride() == {1, 2} and v.t.dtype == "float32")
      assert.are.same({0, 1, 2, 3, 4, 5, 6}, v.s:tolist())
      assert.are.same({__typename = "nn.Linear", size = 7}, v.m)
    end)
  end

  it("gives numbers of every kind", function()
    for kind, dtype in pairs{Double = "float64", Byte = "uint8", Char = "int8", Short = "int16", Int = "int32", Long = "int64", Cuda = "float32"} do
      local ctype = {float64 = "double", float32 = "float"}
      local bytes = raw(ctype[dtype] or dtype .. "_t", 1, 2, 3)
      write(u32(3, 1, 1) .. u32(2) .. t7_text("s") .. u32(4, 2) .. t7_text("V 1") .. t7_text("torch." .. kind .. "Storage") .. raw("int64_t", 3) .. bytes)
      local s = lt.load(path).s
      assert.are.equal(dtype, s.dtype)
      assert.are.same({1, 2, 3}, s:tolist())
    end
    write("3\n1\n2\n2\n1\na\n4\n2\n3\nV 1\n17\ntorch.LongStorage\n2\n9007199254740993 -5\n2\n1\nb\n4\n3\n3\nV 1\n17\ntorch.ByteStorage\n3\nabc\n")
    local v = lt.load(path)
    assert.is_true(v.a:eq(lt.tensor({9007199254740993LL, -5LL}, cpu)):all():item())
    assert.are.same({97, 98, 99}, v.b:tolist())
  end)

  it("gives an empty tensor, which has no storage", function()
    write(u32(4, 1) .. t7_text("V 1") .. t7_text("torch.DoubleTensor") .. u32(0) .. raw("int64_t", 1) .. u32(0))
    local t = lt.load(path)
    assert.is_true(t.shape == {0} and t.dtype == "float64")
  end)

  all_refused{
    ["a function"] = {u32(3, 1, 1) .. u32(2) .. t7_text("f") .. u32(8, 2), "byte 25: it holds a function, which is not read"},
    ["an object of no kind"] = {u32(3, 1, 1, 77), "an object of the unknown kind 77"},
    ["a string beyond the end"] = {u32(3, 1, 1, 2, 1000), "byte 20: 1000 bytes are wanted where 0 are left"},
    ["a storage beyond the end"] = {u32(4, 1) .. t7_text("V 1") .. t7_text("torch.FloatStorage") .. raw("int64_t", 30), "120 bytes are wanted where 0 are left"},
    ["a storage without end"] = {u32(4, 1) .. t7_text("V 1") .. t7_text("torch.FloatStorage") .. raw("int64_t", -1), "a storage claims -1 entries"},
    ["tables without end"] = {u32(3, 1, 2 ^ 31 - 1) .. u32(2) .. t7_text("a") .. u32(5, 1), "byte 29: 4 bytes are wanted where 0 are left"},
    ["tables in tables"] = {u32(3, 1, 1) .. (function()
      local deep = {}
      for i = 2, 400 do deep[#deep + 1] = u32(2) .. t7_text("a") .. u32(3, i, 1) end
      return table.concat(deep)
    end)(), "objects are nested more than 200 deep"},
    ["a key that is a tensor"] = {u32(3, 1, 1) .. u32(4, 2) .. t7_text("V 1") .. t7_text("torch.ByteStorage") .. raw("int64_t", 0), "what cannot be the key of a table"},
  }
end)
