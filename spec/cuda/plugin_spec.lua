--- The CUDA plug-in itself, on a driver and a compiler that only seem to work (spec/native/driver.c, nvrtc.c): what it says of libraries that are
-- missing or refuse something, and its cache of compiled programs.

local child = require("spec.child")
local base = require("lunette.ffi")

local here = debug.getinfo(1, "S").source:match("^@(.*)cuda/plugin_spec%.lua$")
local plugin = os.getenv("LUNETTE_SPEC_PLUGIN") or base.registry.path:gsub("[^/]*$", "") .. "liblunette_cuda.so"

local function read(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read("*a")
  file:close()
  return text
end

local function write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

if not read(plugin) then
  describe("the CUDA plug-in", function() pending("tells what is missing: it was not built here (LUNETTE_CUDA=ON)") end)
  return
end

local fakes, folder -- libraries, made once; a new folder for each spec

-- Runs a program that has the plug-in and the fakes; `set`: NAME=value texts. @return what it printed, the lines of the log
local function run(source, set, path)
  os.remove(folder .. "/log")
  local variables = ("LUNETTE_CUDA_PLUGIN=%s LD_LIBRARY_PATH=%s FAKE_LOG=%s/log XDG_CACHE_HOME=%s/cache %s")
    :format(path or plugin, fakes, folder, folder, set or "")
  local status, text = child.run(source, variables)
  local log = {}
  for line in (read(folder .. "/log") or ""):gmatch("[^\n]+") do log[#log + 1] = line end
  assert.are.equal(0, status, text)
  return text, log
end

local function count(log, word)
  local n = 0
  for _, line in ipairs(log) do
    if line:find(word, 1, true) == 1 then n = n + 1 end
  end
  return n
end

-- The plug-in, looking for a library under a name that nothing has.
local function without(name)
  local bytes, n = read(plugin):gsub(name .. "%z", ("x"):rep(#name) .. "\0")
  assert.is_true(n > 0, name)
  local path = folder .. "/plugin.so"
  write(path, bytes)
  return path
end

local FILL = [[local x = lt.full({4}, 2, {device = "cuda"}) lt.cuda.synchronize() io.write("done")]]
local TRY = [[local ok, message = pcall(function() return lt.full({4}, 2, {device = "cuda"}) end) io.write(tostring(message))]]

local function cached()
  local files = {}
  for line in io.popen("find " .. folder .. "/cache -type f 2> /dev/null | sort"):lines() do files[#files + 1] = line end
  return files
end

describe("the CUDA plug-in", function()
  setup(function()
    fakes = child.folder()
    for file, name in pairs {["driver.c"] = "libcuda.so.1", ["nvrtc.c"] = "libnvrtc.so.13"} do
      assert.are.equal(0, os.execute(("cc -shared -fPIC -O1 -o %s/%s %snative/%s"):format(fakes, name, here, file)))
    end
  end)
  teardown(function() child.remove_folder(fakes) end)
  before_each(function() folder = child.folder() end)
  after_each(function() child.remove_folder(folder) end)

  describe("says why there is no device", function()
    local WHY = [[io.write(tostring(lt.cuda.is_available()), " ", lt.cuda.why_not())]]

    it("when the driver knows none", function() assert.are.equal("false no CUDA device was found", (run(WHY, "FAKE_DEVICES=0"))) end)
    it("when the driver is too old", function()
      assert.are.equal("false the NVIDIA driver is too old: it is for CUDA 11.8, and Lunette needs 12.0", (run(WHY, "FAKE_VERSION=11080")))
    end)
    it("when there is no driver", function()
      local text = run(WHY, "LD_LIBRARY_PATH=" .. folder)
      assert.is_truthy(text == "false no NVIDIA driver was found (libcuda.so.1 cannot be opened)" or text:find("^true"), text)
    end)
  end)

  it("counts and names devices, and takes each by its number", function()
    local text = run([[
      io.write(lt.cuda.device_count(), " ", lt.cuda.get_device_name(1), " ")
      local x = lt.tensor({1, 2, 3}, {device = "cuda:1"})
      io.write(x.device, " ", x:to("cuda:0").device, " ", x:cpu().device, " ", select(2, pcall(lt.cuda.synchronize, 2)))
    ]], "FAKE_DEVICES=2")
    assert.is_truthy(text:find("^2 Fake 1 cuda:1 cuda:0 cpu .*there is no device cuda:2: this machine has 2"), text)
  end)

  describe("says what a library lacks", function()
    it("NVRTC, without which nothing is computed", function()
      local text = run(TRY .. [[ io.write("\n", lt.cuda.libraries())]], nil, without("nvrtc"))
      assert.is_truthy(text:find("fill: CUDA kernels are compiled at run time by NVRTC, and it was not found: install it (Debian package cuda-nvrtc-13-0", 1, true), text)
      assert.is_truthy(text:find("NVRTC: not found; no kernel can be compiled", 1, true), text)
    end)

    it("NVRTC that is something else", function()
      local other = folder .. "/other"
      assert.are.equal(0, os.execute(("mkdir %s && cp %s/libcuda.so.1 %s && echo 'int nothing;' | cc -shared -x c -o %s/libnvrtc.so.13 -"):format(other, fakes, other, other)))
      local text = run(TRY .. [[ io.write("\n", lt.cuda.libraries())]], "LD_LIBRARY_PATH=" .. other)
      assert.is_truthy(text:find("NVRTC: libnvrtc.so.13 cannot be used: functions are missing", 1, true), text)
    end)

    it("NVRTC's own words when a program is refused", function()
      local text, log = run(TRY, "FAKE_REFUSE='line 7: no such thing'")
      assert.is_truthy(text:find("NVRTC could not compile cuda::move::convert<", 1, true), text)
      assert.is_truthy(text:find("line 7: no such thing", 1, true), text)
      assert.are.equal(0, count(log, "load"))
    end)

    it("cuBLAS and cuDNN, once, and a plain kernel computes", function()
      local changed = without("cublas")
      write(changed, (read(changed):gsub("cudnn%z", "xxxxx\0")))
      local text, log = run([[
        local x = lt.empty(4, 4, {device = "cuda"})
        for _ = 1, 3 do x:matmul(x) lt.conv2d(x:reshape(1, 1, 4, 4), x["0:2, 0:2"]:reshape(1, 1, 2, 2)) end
        io.write(lt.cuda.libraries())
      ]], nil, changed)
      local told = 0
      for _ in text:gmatch("lunette: cuBLAS: not found %(libcublas%.so%.13%): products run on a plain kernel, many times slower; install libcublas%-13%-0") do told = told + 1 end
      for _ in text:gmatch("lunette: cuDNN: not found %(libcudnn%.so%.9%): convolutions run on plain kernels, many times slower; install libcudnn9%-cuda%-13") do told = told + 1 end
      assert.are.equal(2, told, text)
      assert.is_truthy(text:find("\ncuBLAS: not found", 1, true) and text:find("\ncuDNN: not found", 1, true), text)
      assert.is_true(count(log, "compile cuda::gemm::product<float, double>") == 1 and count(log, "compile cuda::conv::") == 1)
    end)
  end)

  it("tells lack of memory from other failures", function()
    local text = run([[
      local function message(...) return (select(2, pcall(lt.empty, ...)):gsub("^%S+ ", "")) end
      local kept = lt.empty(1000, {device = "cuda"})
      io.write(message(2 ^ 20, {device = "cuda"}))
      for _ = 1, 20 do lt.empty(2 ^ 16, {device = "cuda"}) end -- each is collected and used again
    ]], "FAKE_MEMORY=600000")
    assert.is_truthy(text:find("^out of memory: 4194304 bytes could not be allocated"), text)
    text = run([[io.write(select(2, pcall(lt.empty, 8, {device = "cuda"})))]], "FAKE_ALLOC=700")
    assert.is_truthy(text:find("32 bytes could not be allocated: an illegal memory access was encountered", 1, true), text)
    assert.is_nil(text:find("out of memory", 1, true))
  end)

  it("says what a launch answered", function()
    assert.is_truthy(run(TRY, "FAKE_LAUNCH=700"):find("fill: an illegal memory access was encountered", 1, true))
  end)

  it("is not used in a process that was forked after its first use", function()
    local text = run(FILL .. [[
      local ffi = require("ffi")
      ffi.cdef "int fork(void); int waitpid(int pid, int *status, int options); void _exit(int);"
      io.stdout:flush()
      local pid = ffi.C.fork()
      if pid == 0 then
        io.write(" ", select(2, pcall(lt.ones, 2, {device = "cuda"})))
        io.stdout:flush()
        ffi.C._exit(0)
      end
      ffi.C.waitpid(pid, nil, 0)
    ]])
    assert.is_truthy(text:find("^done .*device cuda:0 cannot be used in a process forked after CUDA was first used"), text)
  end)

  it("compiles for the device, and for a newer one what the driver translates", function()
    local _, log = run(FILL, "FAKE_ARCH=75")
    assert.are.equal(1, count(log, "compile cuda::move::convert<long> for sm_75"))
    _, log = run(FILL, "FAKE_ARCH=121")
    assert.are.equal(1, count(log, "compile cuda::move::convert<long> for compute_120"))
    _, log = run(FILL, "FAKE_ARCH=89")
    assert.are.equal(1, count(log, "compile cuda::move::convert<long> for compute_75"))
  end)

  describe("keeps what it compiled", function()
    it("for the next process", function()
      local _, log = run(FILL .. FILL:gsub("x", "y"))
      assert.are.equal("1 1 2", ("%d %d %d"):format(count(log, "compile"), count(log, "load"), count(log, "launch")))
      _, log = run(FILL)
      assert.are.equal("0 1 1", ("%d %d %d"):format(count(log, "compile"), count(log, "load"), count(log, "launch")))
      assert.are.equal("load cuda::move::convert<long> for sm_90", log[1])
      assert.are.equal(1, #cached())
      assert.is_truthy(cached()[1]:find("/cache/lunette/13%.0%-sm_90/%x+%.cubin$"))
    end)

    it("and compiles again what is damaged, cut, foreign or no file", function()
      run(FILL)
      local path = cached()[1]
      local whole = read(path)
      local function flipped(at) return whole:sub(1, at - 1) .. string.char((whole:byte(at) + 1) % 256) .. whole:sub(at + 1) end
      for _, text in ipairs {"", "x", whole:sub(1, 72), whole:sub(1, -2), whole .. "x", flipped(1), flipped(9), flipped(41), flipped(#whole), ("x"):rep(100000)} do
        write(path, text)
        local said, log = run(FILL)
        assert.are.equal("done 1", said .. " " .. count(log, "compile"))
        assert.are.equal(whole, read(path))
      end
      assert.are.equal(0, os.execute(("rm %s && mkdir %s"):format(path, path)))
      local said, log = run(FILL)
      assert.are.equal("done 1", said .. " " .. count(log, "compile"))
    end)

    it("nowhere, where nothing can be written", function()
      write(folder .. "/file", "")
      for _, set in ipairs {"XDG_CACHE_HOME=/proc/nothing", "XDG_CACHE_HOME=" .. folder .. "/file", "XDG_CACHE_HOME=relative HOME=", "XDG_CACHE_HOME= HOME="} do
        for _ = 1, 2 do
          local said, log = run(FILL, set)
          assert.are.equal("done 1", said .. " " .. count(log, "compile"))
        end
      end
      assert.are.equal(0, #cached())
      assert.is_nil(read("relative/lunette"))
    end)

    it("once, when several processes compile it together", function()
      local command, path = child.command(FILL .. [[ lt.ones(3, {device = "cuda"}):exp()]],
        ("LUNETTE_CUDA_PLUGIN=%s LD_LIBRARY_PATH=%s XDG_CACHE_HOME=%s/cache"):format(plugin, fakes, folder))
      local text = read("/dev/null")
      for line in io.popen(("for k in 1 2 3 4 5 6; do (%s) & done; wait"):format(command)):lines() do text = text .. line end
      os.remove(path)
      assert.are.equal(("done"):rep(6), text)
      assert.are.equal(2, #cached())
      local _, log = run(FILL)
      assert.are.equal(0, count(log, "compile"))
    end)
  end)
end)
