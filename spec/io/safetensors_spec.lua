--- .safetensors: what is refused, and why; what loads.

local lt = require("lunette")
local fuzz = require("spec.io.fuzz")
local child = require("spec.child")

local little_endian = fuzz.little
local folder, path

local function before() folder, path = fuzz.place() end

local function after() child.remove_folder(folder) end

local function write(text) fuzz.write(path, text) end

local function with_length(header, data) return little_endian(#header, 8) .. header .. (data or "") end

local function entry(dtype, shape, first, last, name)
  return ('"%s":{"dtype":"%s","shape":[%s],"data_offsets":[%s,%s]}'):format(name or "a", dtype, shape, first, last)
end

local function file_of(entries, data) return with_length("{" .. entries .. "}", data) end

local GOOD = entry("U8", "1", 0, 1)

--- What is wrong, the file, what the reason says.
local malformed = {
  {"nothing at all", "", "has at least 8 bytes, this one 0"},
  {"half a length", "\1\0\0", "has at least 8 bytes, this one 3"},
  {"a length of 2^63", "\0\0\0\0\0\0\0\128{}", "the header claims 9223372036854775808 bytes of a file of 10"},
  {"a length of 2^64 - 8", "\248" .. ("\255"):rep(7) .. "{}", "the header claims 18446744073709551608 bytes"},
  {"a length one beyond the file", "\3\0\0\0\0\0\0\0{}", "the header claims 3 bytes of a file of 10"},
  {"no header", ("\0"):rep(8), "byte 0: expected '{'"},
  {"a list", with_length("[]"), "byte 0: expected '{'"},
  {"a header that stops", with_length('{"a":{"dtype":"U8"'), "expected '}'"},
  {"a name that stops", with_length('{"a'), "a string is not closed"},
  {"a name that stops in an escape", with_length('{"a\\'), "a string is not closed"},
  {"no quotes", with_length("{a:1}"), "expected '\"'"},
  {"a comma too many", file_of(GOOD .. ",", "x"), "expected '\"'"},
  {"a tensor that is a number", file_of('"a":1'), "expected '{'"},
  {"100,000 open braces", with_length('{"a":' .. ("{"):rep(100000)), "expected '\"'"},
  {"100,000 open brackets", with_length('{"a":{"shape":' .. ("["):rep(100000)), "expected a whole number"},
  {"text after the header", with_length("{}{}"), "text after the closing brace"},
  {"bytes that nobody owns", file_of(GOOD, "xy"), "the file has 2 bytes of data, its tensors 1"},
  {"an unknown dtype", file_of(entry("F8_E4M3", "1", 0, 1), "x"), "dtype 'F8_E4M3' is not supported"},
  {"an unknown field", file_of('"a":{"strides":[1]}'), "unknown or repeated field 'strides'"},
  {"a repeated field", file_of('"a":{"dtype":"U8","dtype":"U8"}'), "unknown or repeated field 'dtype'"},
  {"no shape", file_of('"a":{"dtype":"U8","data_offsets":[0,1]}', "x"), "tensor 'a' lacks dtype, shape or data_offsets"},
  {"an entry without fields", file_of('"a":{}'), "expected '\"'"},
  {"three offsets", file_of('"a":{"data_offsets":[0,1,2]}', "x"), "too many numbers in a list"},
  {"one offset", file_of('"a":{"data_offsets":[0]}', "x"), "data_offsets of tensor 'a' must be two numbers"},
  {"a negative offset", file_of(entry("U8", "1", -1, 0), "x"), "a negative number"},
  {"offsets in reverse", file_of(entry("U8", "1", 1, 0), "x"), "tensor 'a' claims bytes 1 to 0 of 1"},
  {"offsets beyond the file", file_of(entry("U8", "9", 0, 9), "x"), "tensor 'a' claims bytes 0 to 9 of 1"},
  {"an offset of 2^63", file_of(entry("U8", "1", 0, "9223372036854775808"), "x"), "a number that is too large"},
  {"an offset of 2^63 - 1", file_of(entry("U8", "1", 0, "9223372036854775807"), "x"), "claims bytes 0 to 9223372036854775807 of 1"},
  {"a size of 2^62", file_of(entry("F32", "4611686018427387904", 0, 1), "x"), "tensor 'a' of shape {4611686018427387904} is too large"},
  {"sizes whose product is 2^64", file_of(entry("U8", "4294967296,4294967296", 0, 0)), "is too large"},
  {"such sizes beside a 0", file_of(entry("U8", "0,4294967296,4294967296", 0, 0)), "is too large"},
  {"17 dimensions", file_of(entry("U8", ("1,"):rep(16) .. "1", 0, 1), "x"), "too many numbers in a list"},
  {"a fraction", file_of(entry("U8", "1.0", 0, 1), "x"), "expected a whole number"},
  {"a power of ten", file_of(entry("U8", "1e0", 0, 1), "x"), "expected a whole number"},
  {"a number that begins with 0", file_of(entry("U8", "01", 0, 1), "x"), "a number that begins with 0"},
  {"too few bytes for a shape", file_of(entry("F32", "2", 0, 4), "abcd"), "tensor 'a' of shape {2} needs 8 bytes, its offsets give 4"},
  {"a name that stands twice", file_of(GOOD .. "," .. entry("U8", "1", 1, 2), "xy"), "the name 'a' stands twice"},
  {"tensors that overlap", file_of(entry("U8", "2", 0, 2) .. "," .. entry("U8", "2", 1, 3, "b"), "xyz"), "'b' begins at byte 1 of the data, expected 2 (tensors overlap"},
  {"tensors with a hole between", file_of(GOOD .. "," .. entry("U8", "1", 2, 3, "b"), "xyz"), "'b' begins at byte 2 of the data, expected 1"},
  {"two sets of metadata", with_length('{"__metadata__":{},"__metadata__":{}}'), "__metadata__ stands twice"},
  {"metadata that are no text", with_length('{"__metadata__":{"a":1}}'), "expected '\"'"},
  {"half a character", with_length('{"\195":1}'), "byte 2: invalid UTF-8"},
  {"an overlong character", with_length('{"\192\175":1}'), "invalid UTF-8"},
  {"a surrogate as bytes", with_length('{"\237\160\128":1}'), "invalid UTF-8"},
  {"half of a surrogate pair", with_length('{"\\ud83d":1}'), "half of a surrogate pair"},
  {"the other half", with_length('{"\\ude00":1}'), "half of a surrogate pair"},
  {"NUL in a name", with_length('{"a\\u0000b":1}'), "a name cannot hold NUL"},
  {"a line end in a name", with_length('{"a\nb":1}'), "a control character in a string"},
  {"an escape that JSON has not", with_length('{"\\x41":1}'), "an unknown escape"},
  {"an escape that stops", with_length('{"\\u00"}'), "a \\u escape needs four hexadecimal digits"},
  {"a name within a tensor's", file_of(GOOD .. "," .. entry("U8", "1", 1, 2, "a/0"), "xy"), "the name 'a/0' lies within that of another tensor"},
  {"a name around a tensor's", file_of(entry("U8", "1", 0, 1, "a/0") .. "," .. entry("U8", "1", 1, 2), "xy"), "other names lie within 'a'"},
}

describe("a .safetensors file is refused for", function()
  before_each(before)
  after_each(after)

  for _, case in ipairs(malformed) do
    it(case[1], function()
      write(case[2])
      local ok, message = pcall(lt.load, path)
      assert.is_false(ok)
      assert.is_truthy(message:find(path, 1, true), message)
      assert.is_truthy(message:find(case[3], 1, true), message)
    end)
  end

  it("being a folder, and for not being there", function()
    local ok, message = pcall(lt.load, "/tmp")
    assert.is_false(ok)
    assert.is_truthy(message:find("not a regular file", 1, true), message)
    ok, message = pcall(lt.load, path .. ".nowhere")
    assert.is_false(ok)
    assert.is_truthy(message:find("No such file", 1, true), message)
  end)
end)

describe("a .safetensors file loads with", function()
  before_each(before)
  after_each(after)

  local function load(text)
    write(text)
    return lt.load(path)
  end

  it("space where JSON has it", function()
    local text = (file_of(GOOD, "x"):sub(9, -2)):gsub("[%[%]{}:,]", " %0\n\t")
    assert.are.same({120}, load(with_length(text .. "  ", "x")).a:tolist())
  end)

  it("names in any script, as escapes or as they are", function()
    local loaded = load(file_of(entry("U8", "1", 0, 1, "\\u00e9\\ud83d\\ude00\\/\\n") .. "," .. entry("U8", "1", 1, 2, "\195\169"), "xy"))
    assert.are.same({121}, loaded["\195\169"]:tolist())
    assert.are.same({120}, loaded["\195\169\240\159\152\128"]["\n"]:tolist())
  end)

  it("names that look like numbers and are none", function()
    local loaded = load(file_of(entry("U8", "1", 0, 1, "a/1") .. "," .. entry("U8", "1", 1, 2, "a/01") .. "," .. entry("U8", "1", 2, 3, "a/nan"), "xyz"))
    assert.are.same({120}, loaded.a["1"]:tolist())
    assert.are.same({121}, loaded.a["01"]:tolist())
    assert.are.same({122}, loaded.a.nan:tolist())
  end)

  it("arrays and tables of numbers that lt.save wrote", function()
    local named = path .. ".safetensors"
    local tree = {list = {lt.ones(1), {lt.ones(2), lt.ones(3)}}, net = {["0"] = lt.ones(4)}}
    lt.save(tree, named)
    local loaded = lt.load(named)
    assert.are.equal(2, loaded.list[2][1]:numel())
    assert.are.equal(3, loaded.list[2][2]:numel())
    assert.are.equal(4, loaded.net["0"]:numel())
    lt.save({lt.ones(1), lt.ones(5)}, named)
    assert.are.equal(5, lt.load(named)[2]:numel())
    os.remove(named)
  end)

  it("empty tensors and without any", function()
    assert.are.same({0, 3}, load(file_of(entry("F32", "0,3", 0, 0))).a.shape:totable())
    assert.are.same({}, load(with_length("{}")))
  end)
end)
