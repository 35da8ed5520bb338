--- OpenBLAS and oneDNN are opened at their first use, and a program says what to install where they are missing.

local child = require("spec.child")
local base = require("lunette.ffi")

--- A copy of liblunette.so that looks for a library under a name that does not exist.
local function without(name)
  local file = assert(io.open(base.registry.path, "rb"))
  local bytes = file:read("*a")
  file:close()
  local changed, n = bytes:gsub(name:gsub("%.", "%%.") .. "(%.?%d*)%z", function(tail) return name:gsub("lib", "nil") .. tail .. "\0" end)
  assert.is_true(n > 0, name)
  local path = os.tmpname()
  file = assert(io.open(path, "wb"))
  file:write(changed)
  file:close()
  return path
end

local OPENED = [[
  local function opened()
    local found = {}
    for line in io.lines("/proc/self/maps") do
      local name = line:match("lib(openblas)") or line:match("lib(dnnl)")
      if name then found[name] = true end
    end
    return (found.openblas and "openblas " or "") .. (found.dnnl and "dnnl" or "")
  end
]]

describe("libraries", function()
  it("are not opened for small tensors and small networks", function()
    local status, text = child.run(OPENED .. [[
      local nn, F = lt.nn, lt.nn.functional
      local net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
      local optimizer = lt.optim.Adam(net:parameters())
      F.cross_entropy(net(lt.randn(8, 8)), lt.zeros(8, {dtype = "int64"})):backward()
      optimizer:step()
      io.write("[", opened(), "]")
    ]])
    assert.are.equal("[]", text)
    assert.are.equal(0, status)
  end)

  it("are opened for what they compute", function()
    local _, text = child.run(OPENED .. [[
      local x = lt.randn(40, 40, {dtype = "float64"})
      x:matmul(x)
      io.write("[", opened(), "]")
    ]])
    assert.are.equal("[openblas ]", text)
  end)

  it("are named, with the package that brings them, where they are missing", function()
    local path = without("libopenblas.so")
    local _, text = child.run([[
      local x = lt.randn(40, 40, {dtype = "float64"})
      print(x["0:3, 0:3"]:matmul(x["0:3, 0:3"]).shape)
      print(pcall(x.matmul, x, x))
      print(lt.show_config())
    ]], "LUNETTE_LIBRARY=" .. path)
    os.remove(path)
    assert.is_truthy(text:match("^{3, 3}\nfalse\t[^\n]*matmul: nilopenblas%.so[%d.]* cannot be opened, install libopenblas0%-openmp %("), text)
    assert.is_truthy(text:match("OpenBLAS: no, nilopenblas%.so[%d.]* cannot be opened"), text)
  end)

  if require("lunette").show_config():find("oneDNN: yes", 1, true) then
    it("that are only faster are done without, and the configuration says so", function()
      local path = without("libdnnl.so")
      local script = [[
        local x, w = (lt.arange(2 * 3 * 9 * 9) % 7 - 3):view(2, 3, 9, 9), (lt.arange(4 * 3 * 3 * 3) % 5 - 2):view(4, 3, 3, 3)
        print(lt.conv2d(x, w):abs():sum():item())
        local a = (lt.arange(100 * 100) % 11 - 5):view(100, 100)
        print(a:matmul(a):abs():sum():item())
      ]]
      local _, with = child.run(script)
      local _, text = child.run(script .. "print(lt.show_config())", "LUNETTE_LIBRARY=" .. path)
      os.remove(path)
      assert.are.equal(with, text:sub(1, #with))
      assert.is_truthy(text:match("oneDNN: no, nildnnl%.so[%d.]* cannot be opened, install libdnnl2"), text)
    end)
  end
end)
