--- Files that are not what they should be: each loads or is refused with a reason; none crashes, none has memory allocated from its numbers.

local lt = require("lunette")

local MUTATIONS = 3000
local char, floor = string.char, math.floor

-- Numbers that are the same in every run ---------------------------------------------------------------------------------------------------

local state

--- A whole number from low to high.
local function draw(low, high)
  state = state * 16807 % 2147483647
  return low + floor(state / 2147483647 * (high - low + 1))
end

local function pick(list) return list[draw(1, #list)] end

local function noise(n)
  local bytes = {}
  for i = 1, n do bytes[i] = char(draw(0, 255)) end
  return table.concat(bytes)
end

-- Files -----------------------------------------------------------------------------------------------------------------------------------

local path = os.tmpname()

local function write(text, name)
  os.remove(name or path) -- some file systems flush a file to disk that was cut to nothing and written again
  local file = assert(io.open(name or path, "wb"))
  file:write(text)
  file:close()
end

local function read(name)
  local file = assert(io.open(name, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

--- n as `bytes` bytes, the lowest first.
local function little_endian(n, bytes)
  local list = {}
  for i = 1, bytes do
    list[i] = char(n % 256)
    n = floor(n / 256)
  end
  return table.concat(list)
end

local function with_length(header, data) return little_endian(#header, 8) .. header .. (data or "") end

--- The text of a file that lt.save writes.
local function saved(object, ending)
  local name = path .. ending
  lt.save(object, name)
  local text = read(name)
  os.remove(name)
  return text
end

--- Bytes of all tensors in what was loaded; every element has been read.
local function weigh(value)
  if type(value) ~= "table" then
    if value:numel() > 0 then value:to("float64"):sum():item() end
    return value:numel() * value:element_size()
  end
  local bytes = 0
  for _, part in pairs(value) do bytes = bytes + weigh(part) end
  return bytes
end

--- Loads `text` as a file and says whether it was one. What no file may do is an error.
local function try(text, what)
  write(text)
  local ok, result = pcall(lt.load, path)
  if ok then
    assert.is_true(weigh(result) <= #text, what)
  else
    assert.are.equal("string", type(result), what)
    for _, wrong in ipairs {"attempt to", "out of memory", "not enough memory"} do assert.is_nil(result:find(wrong, 1, true), what .. ": " .. result) end
    assert.is_truthy(result:find(path, 1, true), what .. ": " .. result)
  end
  return ok
end

-- Mutations -------------------------------------------------------------------------------------------------------------------------------

local NUMBERS = {"0", "-1", "1.5", "1e3", "007", "4294967296", "4611686018427387904", "9223372036854775807", "9223372036854775808", "-9223372036854775808",
  "18446744073709551616", "1e308", ("9"):rep(400), "NaN", "null", "true", "[]", "\"1\""}
local LENGTHS = {"\0\0\0\0\0\0\0\128", ("\255"):rep(8), "\255\255\255\255\255\255\255\127", ("\0"):rep(8), "\1\0\0\0\0\0\0\0", "\0\0\0\0\1\0\0\0", "\0\0\64\6\0\0\0\0"}
local SEQUENCES = {"\128", "\192\175", "\193\191", "\224\128\128", "\237\160\128", "\240\128\128\128", "\244\144\128\128", "\248\136\128\128\128", "\255\254", "\195", "\226\130",
  "\240\159\152", "\195\169", "\0", "\1", "\31"}
local ESCAPES = {"\\", "\\x41", "\\u", "\\u12", "\\u0000", "\\uD800", "\\uDC00", "\\uD800\\uD800", "\\uD83D\\uDE00", "\\u00e9", "\\\"", "\\u002f"}
local PIECES = {"{", "}", "[", "]", ",", ":", "\"", " ", "\n", "{}", "[]", "/*x*/", "\"a\":{},"}
local NAMES = {"a", "a/b", "a/1", "a/01", "a/0x1", "a/nan", "__metadata__", "", "/", "//"}

local function at_random(text, piece)
  local i = draw(0, #text)
  return text:sub(1, i) .. piece .. text:sub(i + 1)
end

--- The n-th match of a pattern, from `count` that there are, replaced.
local function replace_one(text, pattern, make)
  local _, count = text:gsub(pattern, "%0")
  if count == 0 then return text end
  local which, seen = draw(1, count), 0
  return (text:gsub(pattern, function(found)
    seen = seen + 1
    if seen == which then return make(found) end
  end))
end

--- name -> function of header and data that gives both back changed.
local in_header = {
  bit = function(header)
    local i = draw(1, #header)
    local b, mask = header:byte(i), 2 ^ draw(0, 7)
    b = floor(b / mask) % 2 == 1 and b - mask or b + mask
    return header:sub(1, i - 1) .. char(b) .. header:sub(i + 1)
  end,
  number = function(header) return replace_one(header, "%d+", function() return pick(NUMBERS) end) end,
  nudged = function(header)
    return replace_one(header, "%d+", function(n) return ("%d"):format(tonumber(n) + draw(-9, 9)) end)
  end,
  negative = function(header) return replace_one(header, "%d+", function(n) return "-" .. n end) end,
  range = function(header)
    return replace_one(header, "%[%d+,%d+%]", function() return ("[%d,%d]"):format(draw(0, 120), draw(0, 120)) end)
  end,
  shape = function(header)
    return replace_one(header, "%[[%d,]*%]", function(list) return "[" .. (pick(NUMBERS) .. ","):rep(draw(0, 20)) .. list:sub(2) end)
  end,
  dtype = function(header)
    return replace_one(header, "\"[FIUB][%u%d]+\"", function() return pick {'"F64"', '"BOOL"', '"I8"', '"F4"', '"f32"', '""', "7"} end)
  end,
  name = function(header)
    return replace_one(header, "\"[%l/%d_]+\"", function() return '"' .. pick(NAMES) .. '"' end)
  end,
  twice = function(header)
    return replace_one(header, "\"[^\"]*\":%b{}", function(entry) return entry .. "," .. entry end)
  end,
  nested = function(header)
    return replace_one(header, "%b{}", function(entry) return '{"inner":' .. entry .. "}" end)
  end,
  deep = function(header)
    local open = pick {"{", "[", "{\"a\":", "[[0,"}
    return at_random(header, open:rep(draw(1, 3) ^ draw(1, 6)))
  end,
  utf8 = function(header) return at_random(header, pick(SEQUENCES)) end,
  escape = function(header)
    return replace_one(header, "\"[%l/_%d]*", function(start) return start .. pick(ESCAPES) end)
  end,
  piece = function(header) return at_random(header, pick(PIECES)) end,
  deleted = function(header)
    local i = draw(1, #header)
    return header:sub(1, i - 1) .. header:sub(i + draw(1, 12))
  end,
  repeated = function(header)
    local i = draw(1, #header)
    return header:sub(1, i + draw(0, 60)) .. header:sub(i)
  end,
  noise = function(header) return at_random(header, noise(draw(1, 40))) end,
  cut = function(header) return header:sub(1, draw(0, #header)) end,
}

local in_file = {
  truncated = function(text) return text:sub(1, draw(0, #text - 1)) end,
  longer = function(text) return text .. noise(draw(1, 70)) end,
  length = function(text) return pick(LENGTHS) .. text:sub(9) end,
  nudged_length = function(text) return little_endian(math.max(0, #text + draw(-400, 20)), 8) .. text:sub(9) end,
  noisy_length = function(text) return noise(draw(1, 8)) .. text:sub(9) end,
  data = function(text)
    local i = draw(9, #text)
    return text:sub(1, i - 1) .. noise(1) .. text:sub(i + 1)
  end,
}

local function names_of(list)
  local names = {}
  for name in pairs(list) do names[#names + 1] = name end
  table.sort(names)
  return names
end

describe("a damaged .safetensors file", function()
  after_each(function() os.remove(path) end)

  it("loads or is refused, 3,000 times", function()
    state = 20240607
    local valid = saved({
      a = lt.arange(6):reshape(2, 3), b = {lt.ones(3, {dtype = "float64"}), lt.zeros(0, 4), deep = lt.LongTensor {1, 2}}, half = lt.ones(2, {dtype = "bfloat16"}),
      flag = lt.tensor {true, false, true}, byte = lt.ones(5, {dtype = "uint8"}), one = lt.tensor(7, {dtype = "int16"}),
    }, ".safetensors")
    assert.is_true(try(valid, "unchanged"))
    local size = valid:byte(1) + 256 * valid:byte(2)
    local header, data = valid:sub(9, 8 + size), valid:sub(9 + size)
    local headers, files = names_of(in_header), names_of(in_file)
    lt.gc()
    local before, counts = lt.memory_stats(), {[true] = 0, [false] = 0}
    for i = 1, MUTATIONS do
      local text, what
      if i % 4 == 0 then
        what = pick(files)
        text = in_file[what](valid)
      else
        local changed = header
        what = ""
        for _ = 1, pick {1, 1, 1, 2, 3} do
          local name = pick(headers)
          what, changed = what .. " " .. name, in_header[name](changed)
          if changed == "" then break end
        end
        text = with_length(changed, data)
      end
      local loaded = try(text, ("mutation %d (%s)"):format(i, what))
      counts[loaded] = counts[loaded] + 1
    end
    assert.is_true(counts[true] > 50, "loaded: " .. counts[true])
    assert.is_true(counts[false] > 2000, "refused: " .. counts[false])
    lt.gc()
    local after = lt.memory_stats()
    assert.is_true(after.live <= before.live + 4096) -- the last one may still lie on the stack
    assert.is_true(after.tensors <= before.tensors + 20)
    assert.is_true(after.peak <= math.max(before.peak, before.live + 16 * 2 ^ 20), "a size was believed")
  end)
end)

-- By name ---------------------------------------------------------------------------------------------------------------------------------

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
  after_each(function() os.remove(path) end)

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
  after_each(function() os.remove(path) end)

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

-- NumPy -----------------------------------------------------------------------------------------------------------------------------------

local MAGIC = "\147NUMPY"

local function npy(header, data, version) return MAGIC .. (version or "\1\0") .. little_endian(#header, 2) .. header .. (data or "") end

local function describe_array(shape, descr, order)
  return ("{'descr': '%s', 'fortran_order': %s, 'shape': (%s), }\n"):format(descr or "<f4", order or "False", shape)
end

local malformed_npy = {
  {"nothing after the magic", MAGIC, "this .npy file is cut off"},
  {"half a length", MAGIC .. "\1\0\9", "this .npy file is cut off"},
  {"version 9", npy(describe_array("1,"), "abcd", "\9\0"), "of an unknown version"},
  {"version 0", npy(describe_array("1,"), "abcd", "\0\0"), "of an unknown version"},
  {"a length beyond the file", MAGIC .. "\1\0\255\255{}", "the .npy header claims 65535 bytes, the file has 2"},
  {"a long length beyond the file", MAGIC .. "\2\0\255\255\255\255{}", "the .npy header claims 4294967295 bytes, the file has 2"},
  {"an empty header", npy(""):sub(1, 10) .. "abcd", "this .npy header cannot be read"},
  {"a header that is no dictionary", npy("pickle"), "this .npy header cannot be read"},
  {"no shape", npy("{'descr': '<f4', 'fortran_order': False}"), "this .npy header cannot be read"},
  {"an order that is neither", npy(describe_array("1,", "<f4", "Maybe"), "abcd"), "this .npy header cannot be read"},
  {"the other byte order", npy(describe_array("1,", ">f4"), "abcd"), "the dtype >f4 is not supported"},
  {"objects", npy(describe_array("1,", "|O"), "abcd"), "the dtype |O is not supported"},
  {"a record", npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", "abcd"), "cannot be read"},
  {"too few bytes", npy(describe_array("2,"), "abcd"), "8 bytes of data are expected, the file has 4"},
  {"too many bytes", npy(describe_array("1,"), "abcdefgh"), "4 bytes of data are expected, the file has 8"},
  {"no bytes for one number", npy(describe_array("")), "4 bytes of data are expected, the file has 0"},
  {"a negative size", npy(describe_array("-1,"), "abcd"), "the .npy shape (-1,) is no list of sizes"},
  {"a fraction", npy(describe_array("1.5,"), "abcd"), "is no list of sizes"},
  {"a size that is a name", npy(describe_array("n,"), "abcd"), "is no list of sizes"},
  {"a size of 2^62", npy(describe_array("4611686018427387904,"), "abcd"), "is no list of sizes"},
  {"a size of 400 digits", npy(describe_array(("9"):rep(400)), "abcd"), "is no list of sizes"},
  {"sizes whose product is large", npy(describe_array("1073741824, 1073741824, 16"), "abcd"), "73786976294838206464 bytes of data are expected, the file has 4"},
  {"17 dimensions", npy(describe_array(("1, "):rep(17)), "abcd"), "at most 16"},
}

describe("an .npy file is refused for", function()
  after_each(function() os.remove(path) end)

  for _, case in ipairs(malformed_npy) do
    it(case[1], function()
      write(case[2])
      local ok, message = pcall(lt.load, path)
      assert.is_false(ok)
      assert.is_truthy(message:find(case[3], 1, true), message)
    end)
  end
end)

describe("an .npy file", function()
  after_each(function() os.remove(path) end)

  it("loads from every version, in both orders", function()
    local bytes = "\1\2\3\4\5\6"
    for _, version in ipairs {"\1\0", "\2\0", "\3\0"} do
      local header = describe_array("2, 3", "|u1", "True")
      local length = little_endian(#header, version == "\1\0" and 2 or 4)
      write(MAGIC .. version .. length .. header .. bytes)
      assert.are.same({{1, 3, 5}, {2, 4, 6}}, lt.load(path):tolist())
    end
    write(npy(describe_array("", "=f4", "True"), "\0\0\128\63"))
    assert.are.equal(1, lt.load(path):item())
  end)

  it("loads or is refused when damaged, 1,000 times", function()
    state = 42
    local valid = saved(lt.arange(12):reshape(3, 4), ".npy")
    local changes = names_of(in_header)
    local size = valid:byte(9)
    local header, data = valid:sub(11, 10 + size), valid:sub(11 + size)
    for i = 1, 1000 do
      local text
      if i % 4 == 0 then
        text = in_file.truncated(valid)
      elseif i % 4 == 1 then
        local k = draw(7, 10 + size)
        text = valid:sub(1, k - 1) .. noise(1) .. valid:sub(k + 1)
      else
        local changed = in_header[pick(changes)](header)
        text = MAGIC .. "\2\0" .. little_endian(#changed, 4) .. changed .. data
      end
      write(text)
      local ok, result = pcall(lt.load, path)
      if ok then
        assert.is_true(weigh(result) <= #text)
      else
        assert.is_nil(result:find("attempt to", 1, true), result)
      end
    end
  end)
end)
