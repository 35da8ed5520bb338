--- .npy: what is refused, and why; what loads.

local lt = require("lunette")
local fuzz = require("spec.io.fuzz")
local child = require("spec.child")

local little_endian = fuzz.little
local folder, path

local function before() folder, path = fuzz.place() end

local function after() child.remove_folder(folder) end

local function write(text) fuzz.write(path, text) end

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
  before_each(before)
  after_each(after)

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
  before_each(before)
  after_each(after)

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
end)
