--- Damaged files of every format, 100,000 of them: each loads or is refused with a reason (spec/io/fuzz.lua).

if require("spec.once").done then return end

local lt = require("lunette")
local child = require("spec.child")
local fuzz = require("spec.io.fuzz")
local samples = require("spec.io.samples")

local draw, pick, noise, at_random, little, floor = fuzz.draw, fuzz.pick, fuzz.noise, fuzz.at_random, fuzz.little, math.floor
local cpu = {device = "cpu"}
local fixtures = debug.getinfo(1, "S").source:match("^@(.*)io/fuzz_spec%.lua$") .. "fixtures/files/"
local folder, path

local function before() folder, path = fuzz.place() end

local function after() child.remove_folder(folder) end

local byte_names = fuzz.names_of(fuzz.bytes)

-- Mutations of text ------------------------------------------------------------------------------------------------------------------------

local NUMBERS = {"0", "-1", "1.5", "1e3", "007", "4294967296", "4611686018427387904", "9223372036854775807", "9223372036854775808", "-9223372036854775808",
  "18446744073709551616", "1e308", ("9"):rep(400), "NaN", "null", "true", "[]", "\"1\""}
local LENGTHS = {"\0\0\0\0\0\0\0\128", ("\255"):rep(8), "\255\255\255\255\255\255\255\127", ("\0"):rep(8), "\1\0\0\0\0\0\0\0", "\0\0\0\0\1\0\0\0", "\0\0\64\6\0\0\0\0"}
local SEQUENCES = {"\128", "\192\175", "\193\191", "\224\128\128", "\237\160\128", "\240\128\128\128", "\244\144\128\128", "\248\136\128\128\128", "\255\254", "\195", "\226\130",
  "\240\159\152", "\195\169", "\0", "\1", "\31"}
local ESCAPES = {"\\", "\\x41", "\\u", "\\u12", "\\u0000", "\\uD800", "\\uDC00", "\\uD800\\uD800", "\\uD83D\\uDE00", "\\u00e9", "\\\"", "\\u002f"}
local PIECES = {"{", "}", "[", "]", ",", ":", "\"", " ", "\n", "{}", "[]", "/*x*/", "\"a\":{},"}
local NAMES = {"a", "a/b", "a/1", "a/01", "a/0x1", "a/nan", "__metadata__", "", "/", "//"}

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
    return header:sub(1, i - 1) .. string.char(b) .. header:sub(i + 1)
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
  nudged_length = function(text) return little(math.max(0, #text + draw(-400, 20)), 8) .. text:sub(9) end,
  noisy_length = function(text) return noise(draw(1, 8)) .. text:sub(9) end,
  data = function(text)
    local i = draw(9, #text)
    return text:sub(1, i - 1) .. noise(1) .. text:sub(i + 1)
  end,
}


local header_names, file_names = fuzz.names_of(in_header), fuzz.names_of(in_file)

local function tensor(dtype, ...) return lt.arange(4, cpu):reshape(...):to(dtype) end

describe("a damaged file loads or is refused:", function()
  before_each(before)
  after_each(after)

  it("30,000 of .safetensors", function()
    fuzz.seed(20240607)
    local valid = fuzz.saved({
      a = lt.arange(6, cpu):reshape(2, 3), b = {lt.ones(3, {dtype = "float64", device = "cpu"}), lt.zeros(0, 4, cpu), deep = lt.LongTensor {1, 2}},
      half = tensor("bfloat16", 2, 2), flag = lt.tensor({true, false, true}, cpu), byte = tensor("uint8", 4), one = lt.tensor(7, {dtype = "int16", device = "cpu"}),
    }, ".safetensors")
    local size = valid:byte(1) + 256 * valid:byte(2)
    local header, data = valid:sub(9, 8 + size), valid:sub(9 + size)
    fuzz.run(path, 30000, function(i)
      if i % 4 == 0 then
        local what = pick(file_names)
        return in_file[what](valid), what
      end
      local text, what = fuzz.mutated(header, in_header, header_names)
      return little(#text, 8) .. text .. data, what
    end, 500, 20000)
  end)

  it("10,000 of .npy", function()
    fuzz.seed(42)
    local valid = fuzz.saved(lt.arange(12, cpu):reshape(3, 4), ".npy")
    local size = valid:byte(9)
    local header, data = valid:sub(11, 10 + size), valid:sub(11 + size)
    fuzz.run(path, 10000, function(i)
      if i % 3 == 0 then return fuzz.mutated(valid, fuzz.bytes, byte_names) end
      local text, what = fuzz.mutated(header, in_header, header_names)
      return "\147NUMPY\2\0" .. little(#text, 4) .. text .. data, what
    end, 200, 3000)
  end)
end)

-- Formats of bytes -------------------------------------------------------------------------------------------------------------------------

-- What lies in the archives: their entries by name, as zip.entries and the bytes behind tell.
local function entries_of(archive)
  local file, zip = require("lunette.io.file"), require("lunette.io.zip")
  return file.reading(archive, function(f)
    local list = {}
    for i, e in ipairs(zip.entries(f)) do list[i] = {e.name, f:bytes(zip.data_offset(f, e), e.packed)} end
    return list
  end)
end

-- Entries with the text of one of them changed.
local function with_entry(entries, k, text)
  local list = {}
  for i, e in ipairs(entries) do list[i] = i == k and {e[1], text} or e end
  return fuzz.archive(list)
end

-- Operations of pickles that stand where bytes were.
local OPERATIONS = {"(", ".", "0", "1", "2", "N", "K\1", "J\255\255\255\127", "M\255\255", "G\255\255\255\255\255\255\255\255", "\138\1\255", "\138\9\255\255\255\255\255\255\255\255\0",
  "X\255\255\255\127", "X\1\0\0\0a", "]", "}", ")", "\143", "l", "t", "\133", "\134", "\135", "d", "a", "e", "s", "u", "\144", "q\0", "q\200", "h\0", "h\1", "h\2", "h\3", "h\9", "h\20",
  "j\255\255\255\255", "R", "b", "Q", "\129", "ccollections\nOrderedDict\n", "ctorch\nFloatStorage\n", "ctorch._utils\n_rebuild_tensor_v2\n", "ctorch\nSize\n", "c__builtin__\nset\n",
  "cos\nsystem\n", "\149\255\255\255\255\255\255\255\127", "\136", "\137", "((((((((", "]]]]]]]]", "I12\n", "L-9\n", "F1e999\n", "S'x'\n", "Vx\n"}

local in_pickle = {operation = function(text) return at_random(text, pick(OPERATIONS)) end}
in_pickle.exchanged = function(text)
  local i, piece = draw(1, #text), pick(OPERATIONS)
  return text:sub(1, i - 1) .. piece .. text:sub(i + #piece)
end
for name, mutate in pairs(fuzz.bytes) do in_pickle[name] = mutate end
local pickle_names = fuzz.names_of(in_pickle)

local function from_bytes(files)
  return function() return fuzz.mutated(pick(files), fuzz.bytes, byte_names) end
end

local small = {model = {w = lt.arange(6, cpu):reshape(2, 3):t(), b = lt.ones(2, cpu)}, list = {1, 2.5, "x", lt.None, 2 ^ 40}, epoch = 3}

describe("a damaged file loads or is refused:", function()
  before_each(before)
  after_each(after)

  it("20,000 of .pt as an archive", function()
    fuzz.seed(1)
    fuzz.run(path, 20000, from_bytes{fuzz.saved(small, ".pt"), fuzz.read(fixtures .. "values.pt"), fuzz.read(fixtures .. "script.pt")}, 500, 2000)
  end)

  it("16,000 of .pt whose pickle is damaged", function()
    fuzz.seed(2)
    local archives = {}
    for i, name in ipairs{"values.pt", "values_4.pt", "run.pt", "script.pt"} do archives[i] = entries_of(fixtures .. name) end
    fuzz.run(path, 16000, function()
      local entries = pick(archives)
      local k = 1
      while not entries[k][1]:find("data.pkl", 1, true) do k = k + 1 end
      local text, what = fuzz.mutated(entries[k][2], in_pickle, pickle_names)
      return with_entry(entries, k, text), what
    end, 200, 8000)
  end)

  it("8,000 of .pt as a sequence of pickles", function()
    fuzz.seed(3)
    local valid = fuzz.read(fixtures .. "values_legacy.pt")
    fuzz.run(path, 8000, function() return fuzz.mutated(valid, in_pickle, pickle_names) end, 50, 4000)
  end)

  it("8,000 of .npz", function()
    fuzz.seed(4)
    local stored = entries_of(fixtures .. "stored.npz")
    local whole = from_bytes{fuzz.read(fixtures .. "stored.npz"), fuzz.read(fixtures .. "packed.npz")}
    fuzz.run(path, 8000, function(i)
      if i % 2 == 0 then return whole() end
      local k = draw(1, #stored)
      local text, what = fuzz.mutated(stored[k][2], fuzz.bytes, byte_names)
      return with_entry(stored, k, text), what
    end, 200, 2000, 8)
  end)

  it("4,000 of GGUF", function()
    fuzz.seed(5)
    local gguf = samples.gguf({
      samples.text("name") .. samples.u32(8) .. samples.text("small"), samples.text("list") .. samples.u32(9, 4) .. samples.u64(2) .. samples.u32(1, 2),
      samples.text("deep") .. samples.u32(9, 9) .. samples.u64(1) .. samples.u32(0) .. samples.u64(1) .. "x",
    }, {{"a", {3, 2}, 0, ("abcd"):rep(6)}, {"q4", {32}, 2, ("x"):rep(18)}, {"q8", {32, 2}, 8, ("y"):rep(68)}})
    fuzz.run(path, 4000, from_bytes{gguf}, 100, 1000, 8)
  end)

  it("4,000 of .t7", function()
    fuzz.seed(6)
    fuzz.run(path, 4000, from_bytes{samples.t7(), samples.t7_ascii}, 100, 1000, 8)
  end)
end)
