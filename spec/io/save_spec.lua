--- What lt.save takes lt.load gives back, and lt.save refuses what lt.load could not; formats are told by content.

local lt = require("lunette")
local child = require("spec.child")
local folder, path

local cpu = {device = "cpu"}

local function same(a, b)
  if lt.is_tensor(a) or lt.is_tensor(b) then return lt.is_tensor(a) and lt.is_tensor(b) and a.dtype == b.dtype and lt.equal(a, b) end
  for key, value in pairs(a) do
    if b[key] == nil or not same(value, b[key]) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end

local function given_back(object)
  lt.save(object, path)
  return same(object, lt.load(path))
end

local function refused(part, fn, ...)
  local ok, message = pcall(fn, ...)
  assert.is_false(ok)
  assert.is_truthy(message:find(part, 1, true), message)
end

local function one() return lt.ones(1, cpu) end

local function write(text, name)
  local file = assert(io.open(name or path, "wb"))
  file:write(text)
  file:close()
end

local function before()
  folder = child.folder()
  path = folder .. "/x.safetensors"
end

local function after() child.remove_folder(folder) end

describe("lt.load gives back", function()
  before_each(before)
  after_each(after)

  local loop = {}
  for i = 1, 99 do loop = {[i] = loop[1] and loop or one()} end

  local cases = {
    {"a tensor alone", lt.arange(6, cpu):reshape(2, 3)},
    {"a table of one tensor named as a tensor alone is", {tensor = one()}},
    {"keys that are numbers", {one(), {one(), one()}, [0.1] = one(), [0.1 + 0.2] = one(), [1e15 + 1] = one(), [-3] = one(), [2 ^ 53] = one(), [1e300] = one(),
      [math.huge] = one()}},
    {"numbers beside strings that look like others", {[1] = one(), ["01"] = one(), ["1.0"] = one(), x = {["2"] = one(), [3] = one()}}},
    {"keys with line ends and escapes", {["x\ny"] = {one(), one()}, ["%0A"] = {one()}, ["%25"] = {one()}, ["a\"\\\t\127"] = one()}},
    {"keys in any script, and an empty one", {["\195\169\240\159\152\128"] = one(), [""] = one(), e = {[""] = one()}}},
    {"tables 100 deep", loop},
    {"nothing", {}},
    {"tensors without elements", {lt.zeros(0, 3, cpu), lt.zeros(2, 0, 5, cpu)}},
    {"a tensor that is no block of memory", {lt.arange(6, cpu):reshape(2, 3):t(), lt.ones(1, cpu):expand(4)}},
  }

  for _, case in ipairs(cases) do
    it(case[1], function() assert.is_true(given_back(case[2])) end)
  end

  it("an .npy of every layout and dtype that it has", function()
    path = folder .. "/x.npy"
    for _, dtype in ipairs{"float32", "float64", "float16", "int8", "int16", "int32", "int64", "uint8", "bool"} do
      assert.is_true(given_back(lt.ones(2, 3, {dtype = dtype, device = "cpu"}):t()))
    end
    assert.is_true(given_back(lt.tensor(3, cpu)))
    assert.is_true(given_back(lt.zeros(0, 3, cpu)))
  end)
end)

describe("lt.save refuses", function()
  before_each(before)
  after_each(after)

  local itself = {a = {}}
  itself.a.b = itself
  local deep = one()
  for _ = 1, 101 do deep = {deep} end

  local cases = {
    {"a slash in a key", {["a/b"] = one()}, [[save: the key "a/b" holds a slash]]},
    {"a NUL in a key", {x = {["a\0b"] = one()}}, "holds a NUL character"},
    {"a key that is no UTF-8", {["\255"] = one()}, "is not valid UTF-8, which safetensors names must be"},
    {"a number and a string with one text", {[1] = {a = one()}, ["1"] = {b = one()}}, [[save: the number and the string "1" are both keys of one table]]},
    {"a key that is neither", {[true] = one()}, "save: the key true is neither a name nor a number"},
    {"a table as a key", {x = {[{}] = one()}}, "save: the key x/a table is neither a name nor a number"},
    {"an empty table within", {a = one(), b = {c = {}}}, "save: the table b/c is empty; safetensors holds tensors only"},
    {"a table that contains itself", itself, "save: the table a/b contains itself"},
    {"tables more than 100 deep", deep, "save: tables are nested more than 100 deep"},
    {"the name of the metadata", {__metadata__ = one()}, "a tensor cannot be named __metadata__"},
    {"what is no tensor", {a = 3}, "save: a is no tensor but 3; safetensors holds tensors only"},
    {"sizes that are too large, beside a zero", {lt.zeros(0, cpu):reshape(0, 1, 1):expand(0, 2 ^ 40, 2 ^ 40)}, "is too large"},
  }

  for _, case in ipairs(cases) do
    it(case[1], function()
      lt.save(lt.full({1}, 7, cpu), path)
      refused(case[3], lt.save, case[2], path)
      assert.are.equal(7, lt.load(path):item())
    end)
  end

  it("names that take more room than a header has", function()
    local name = ("x"):rep(2 ^ 20)
    local many = {}
    for i = 1, 101 do many[name .. i] = one() end
    refused("a safetensors header has at most 104857600", lt.save, many, path)
  end)

  it("a path with a NUL, one that is no string, an unknown ending", function()
    refused("holds a NUL character", lt.save, one(), folder .. "/a\0.npy")
    refused("holds a NUL character", lt.load, folder .. "/a\0.npy")
    refused("save: argument 'path' must be a string, got 3", lt.save, one(), 3)
    refused("says no known format", lt.save, one(), folder .. "/x.txt")
    refused(".npy has no dtype bfloat16", lt.save, lt.ones(1, {dtype = "bfloat16", device = "cpu"}), folder .. "/x.npy")
    assert.are.equal("0", child.shell("ls -A " .. folder .. " | wc -l"))
  end)
end)

describe("a file of no known format", function()
  before_each(function()
    before()
    path = folder .. "/x"
  end)
  after_each(after)

  local cases = {
    {"text", "Lunette is a deep learning environment", "unknown format: neither .pt, .safetensors, .npy, .npz, GGUF nor .t7"},
    {"three bytes", "abc", "unknown format: a file of any that is known has at least 8 bytes, this one 3"},
    {"nothing", "", "unknown format: a file of any that is known has at least 8 bytes, this one 0"},
    {"half of a zip archive", "PK\3\4\20\0\0\0\8\0", "this zip archive has no directory at its end; is it cut off?"},
    {"an empty zip archive", "PK\5\6" .. ("\0"):rep(18), "unknown format: a zip archive without entries"},
    {"gzip", "\31\139\8\0\0\0\0\0\0\3", "unknown format: a gzip file; unpack it first"},
    {"pickle", "\128\2}q\0X\1\0\0\0aq\1", "unknown format: a pickle"},
  }

  for _, case in ipairs(cases) do
    it("is called unknown: " .. case[1], function()
      write(case[2])
      refused(path .. ": " .. case[3], lt.load, path)
    end)
  end
end)

describe("hostile files take no time:", function()
  before_each(before)
  after_each(after)

  local function with_header(header, data)
    local n = #header
    local length = ""
    for _ = 1, 8 do
      length = length .. string.char(n % 256)
      n = math.floor(n / 256)
    end
    return length .. header .. (data or "")
  end

  local function entry(name) return ('"%s":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}'):format(name) end

  local function seconds(fn)
    local start = os.clock()
    fn()
    return os.clock() - start
  end

  it("a name of a million characters", function()
    write(with_header("{" .. entry(("x"):rep(1000000)) .. "}", "x"))
    assert.is_true(seconds(function() assert.is_true(lt.load(path)[("x"):rep(1000000)]:item() == 120) end) < 1)
  end)

  it("a name of a million slashes", function()
    write(with_header("{" .. entry(("/"):rep(1000000)) .. "}", "x"))
    assert.is_true(seconds(function() refused("a name nests tables more than 100 deep", lt.load, path) end) < 1)
  end)

  it("an .npy with a long header", function()
    local header = ("'shape':("):rep(100000)
    local length = string.char(#header % 256, math.floor(#header / 256) % 256, math.floor(#header / 65536), 0)
    write("\147NUMPY\2\0" .. length .. header)
    assert.is_true(seconds(function() refused("the .npy header has 900000 bytes, more than the 10000 of any array", lt.load, path) end) < 1)
  end)

  it("30,000 names", function()
    local many = {}
    for i = 1, 30000 do many["name" .. i] = lt.zeros(0, cpu) end
    assert.is_true(seconds(function() assert.is_true(given_back(many)) end) < 2)
  end)
end)

describe("read_file", function()
  before_each(before)
  after_each(after)

  it("reads at most what a string holds, and keeps nothing of what it refuses", function()
    local ffi, C = require("ffi"), require("lunette.ffi").C
    write(("x"):rep(100000))
    local data, size = ffi.new("char *[1]"), ffi.new("size_t[1]")
    assert.are_not.equal(0, tonumber(C.ln_file_read(path, 99999, data, size)))
    assert.is_truthy(ffi.string(C.ln_error()):find("holds more than 99999 bytes, the most that is read at once", 1, true))
    assert.are.equal(100000, #lt.read_file(path))
  end)

  it("unpacks gzip, and refuses it when it ends too early", function()
    write("some text", folder .. "/t")
    os.execute(("gzip %s/t"):format(folder))
    assert.are.equal("some text", lt.read_file(folder .. "/t.gz"))
    os.execute(("truncate -s -3 %s/t.gz"):format(folder))
    refused("the gzip data end too early", lt.read_file, folder .. "/t.gz")
  end)
end)
