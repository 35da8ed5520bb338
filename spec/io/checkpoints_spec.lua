--- Checkpoints that others trained: each tensor as PyTorch's own reader gives it. LUNETTE_TEST_DATA names the folder that holds checkpoints/ (with
--- expected.json beside the files) and mnist/; without it these specs are skipped.

local lt = require("lunette")
local base = require("lunette.ffi")
local child = require("spec.child")
local fuzz = require("spec.io.fuzz")

local data = os.getenv("LUNETTE_TEST_DATA")
local root = debug.getinfo(1, "S").source:match("^@(.*)spec/io/checkpoints_spec%.lua$")

-- JSON -----------------------------------------------------------------------------------------------------------------------------------

local value

local function items(text, at, close, read)
  local out = {}
  at = text:match("^%s*()", at)
  while text:sub(at, at) ~= close do
    at = read(out, at)
    at = text:match("^%s*,?%s*()", at)
  end
  return out, at + 1
end

function value(text, at)
  at = text:match("^%s*()", at)
  local c = text:sub(at, at)
  if c == "{" then
    return items(text, at + 1, "}", function(out, i)
      local key, element
      key, i = value(text, i)
      element, i = value(text, text:match("^%s*:()", i))
      out[key] = element
      return i
    end)
  elseif c == "[" then
    return items(text, at + 1, "]", function(out, i)
      out[#out + 1], i = value(text, i)
      return i
    end)
  elseif c == '"' then
    local inner, after = text:match('^"(.-)"()', at)
    return inner, after
  end
  local word, after = text:match("^([%w%.%+%-]+)()", at)
  if word == "true" or word == "false" then return word == "true", after end
  return tonumber(word), after
end

-- Comparing ------------------------------------------------------------------------------------------------------------------------------

-- Name -> what stands there, keys joined with "/", places of arrays from 0.
local function flat(v, prefix, out)
  if type(v) ~= "table" then
    out[prefix:sub(1, -2)] = v
    return out
  end
  local first = v[1] ~= nil and v[0] == nil and 1 or 0
  for key, part in pairs(v) do flat(part, prefix .. (type(key) == "number" and ("%d"):format(key - first) or key) .. "/", out) end
  return out
end

local DTYPES = {F32 = "float32", F64 = "float64", F16 = "float16", I64 = "int64"}

local function check_tensor(t, e, name)
  assert.are.equal(DTYPES[e.dtype] or e.dtype, t.dtype, name)
  assert.is_true(t.shape == e.shape, name)
  if e.stride then
    assert.is_true(t:stride() == e.stride, name)
    assert.are.equal(e.offset, tonumber(base.C.ln_tensor_storage_offset(t._p)), name)
  end
  local dense = t:contiguous()
  return base.ffi.string(base.pointer(dense).data, dense:numel() * dense:element_size())
end

-- The sha256 of each text, by the system's program.
local function hashes(folder, texts)
  for i, text in ipairs(texts) do fuzz.write(("%s/%04d"):format(folder, i), text) end
  local list, pipe = {}, assert(io.popen(("cd %s && sha256sum *"):format(folder)))
  for line in pipe:lines() do list[#list + 1] = line:match("^%x+") end
  pipe:close()
  return list
end

local function check_file(path, expected)
  if expected.format == "other" then return assert.is_false(pcall(lt.load, path)) end
  local found, texts, wanted, folder = flat(lt.load(path), "", {}), {}, {}, child.folder()
  finally(function() child.remove_folder(folder) end)
  for name, e in pairs(expected.entries) do
    local v = found[name]
    if e.value then
      if type(v) == "number" then assert.are.equal(tonumber(e.value), v, name) end
    else
      assert.is_true(lt.is_tensor(v), name)
      texts[#texts + 1], wanted[#wanted + 1] = check_tensor(v, e, name), e.sha256
    end
  end
  assert.is_true(#wanted > 0)
  assert.are.same(wanted, hashes(folder, texts))
end

describe("the checkpoint", function()
  if not data then return pending("LUNETTE_TEST_DATA names no folder of checkpoints") end
  local expected = value(fuzz.read(data .. "/checkpoints/expected.json"), 1)
  for _, name in ipairs(fuzz.names_of(expected)) do
    it(name .. " is read as PyTorch reads it", function() check_file(data .. "/checkpoints/" .. name, expected[name]) end)
  end

  it("burn/mnist.pt tells 9,915 of 10,000 pictures right", function()
    local launcher = ("cd '%s' && LUA_PATH='lua/?.lua;lua/?/init.lua;;' luajit"):format(root == "" and "." or root)
    assert.are.equal("9915 of 10000 told right", child.shell(("%s examples/checkpoint.lua '%s/checkpoints/burn/mnist.pt' '%s/mnist'"):format(launcher, data, data)))
  end)
end)
