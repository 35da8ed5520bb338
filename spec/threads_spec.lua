--- Operating system threads and fork, in programs of their own: Lua states in threads that end, a fork while another thread is busy, and results that
-- do not depend on the number of threads.

local child = require("spec.child")
local base = require("lunette.ffi")

local here = debug.getinfo(1, "S").source:match("^@(.*)threads_spec%.lua$")

local function command_output(command)
  local pipe = assert(io.popen(command .. " 2>&1"))
  local text = pipe:read("*a")
  pipe:close()
  return text
end

--- Compiles spec/native/`name`.c and runs it with arguments. @return what it printed
local function native(name, flags, ...)
  local program = os.tmpname()
  local messages = command_output(("cc -O1 -rdynamic -o %s %snative/%s.c %s -ldl -lpthread"):format(program, here, name, flags))
  assert.are.equal("", messages)
  local arguments = {...}
  for i = 1, #arguments do arguments[i] = ("'%s'"):format(arguments[i]) end
  local output = command_output(("LN_NO_CACHE= %s %s"):format(program, table.concat(arguments, " ")))
  os.remove(program)
  return output
end

describe("threads of the operating system", function()
  it("may end after their Lua states were closed", function()
    local flags = command_output("pkg-config --cflags --libs luajit"):gsub("\n", " ")
    local text = ([[package.path = %q .. package.path
      local lt = require("lunette")
      local x = lt.randn(40, 40, {requires_grad = true})
      x:matmul(x):sum():backward()
      lt.conv2d(lt.ones(1, 1, 5, 5), lt.ones(1, 1, 3, 3))]]):format(package.path)
    assert.are.equal("all ended\n", native("threads", flags, text))
  end)

  it("may hold the lock of large blocks while the process forks", function()
    assert.are.equal("the child goes on\n", native("fork", "", base.registry.path))
  end)
end)

describe("the number of threads", function()
  it("is the same after OpenBLAS and oneDNN were opened", function()
    local status, text = child.run([[
      local x = lt.rand(96, 96)
      io.write("[", lt.get_num_threads())
      x:to("float64"):matmul(x:to("float64"))
      x:narrow(0, 0, 40):matmul(x)
      lt.conv2d(lt.rand(1, 3, 16, 16), lt.rand(4, 3, 3, 3))
      io.write(" ", lt.get_num_threads(), "]")
    ]], "OMP_NUM_THREADS=3")
    assert.are.equal(0, status, text)
    assert.is_truthy(text:find("[3 3]", 1, true), text)
  end)

  it("does not change a product of float64 matrices", function()
    local status, text = child.run([[
      local shapes = {{70, 70, 70}, {100, 100, 100}, {128, 128, 128}, {300, 310, 320}, {49, 51, 333}, {64, 64, 4000}}
      for _, s in ipairs(shapes) do
        local a, b = lt.randn(s[1], s[3], {dtype = "float64"}), lt.randn(s[2], s[3], {dtype = "float64"}):t()
        local results = {}
        for n = 1, 7 do
          lt.set_num_threads(n)
          results[n] = a:matmul(b)
          if not lt.equal(results[1], results[n]) then print(table.concat(s, "x"), n) end
        end
      end
      local a = lt.randn(5, 40, 50, {dtype = "float64"})
      lt.set_num_threads(3)
      local y = a:bmm(a:transpose(1, 2))
      for i = 0, 4 do print(lt.equal(y[i], a[i]:matmul(a[i]:t()))) end
    ]], "OPENBLAS_CORETYPE=Nehalem")
    assert.are.equal(("true\n"):rep(5), text)
    assert.are.equal(0, status)
  end)
end)
