--- What stands at a path is the old file or the new one, whole: whoever is killed, whatever fails, however many save at once.

local lt = require("lunette")
local child = require("spec.child")

local ROUNDS = 40
local COUNT = 2 ^ 17 -- elements: half a MB, so that a kill meets the writing
local cpu = {device = "cpu"} -- no CUDA context survives a fork

describe("a file that is saved over", function()
  local folder

  before_each(function() folder = child.folder() end)
  after_each(function() child.remove_folder(folder) end)

  local function files() return tonumber(child.shell("ls -A " .. folder .. " | wc -l")) end

  local function full(value, n) return lt.full({n or COUNT}, value, cpu) end

  --- The one value of all elements.
  local function value_of(path, n)
    local t = lt.load(path)
    assert.are.equal(n or COUNT, t:numel())
    local value = t[0]:item()
    assert.is_true(t:eq(value):all():item())
    return value
  end

  for _, ending in ipairs{".npy", ".safetensors", ".pt"} do
    it("survives kill -9: " .. ending, function()
      local path = folder .. "/x" .. ending
      lt.save(full(1), path)
      for round = 1, ROUNDS do
        local values = {full(2 * round), full(2 * round + 1)}
        local pid = child.fork(function()
          for i = 0, 1000000 do lt.save(values[i % 2 + 1], path) end
        end)
        child.sleep(300 + 379 * round % 3000)
        child.kill(pid)
        value_of(path)
      end
      lt.save(full(1), path)
      assert.are.equal(1, files()) -- what the killed ones left is gone
    end)

    it("survives two that save at once, with one process number: " .. ending, function()
      local path = folder .. "/x" .. ending
      lt.save(full(1), path)
      local pids = {}
      for i = 1, 2 do
        local t = full(i)
        pids[i] = child.contained(function()
          for _ = 1, 150 do lt.save(t, path) end
        end)
      end
      for _ = 1, 150 do
        local value = value_of(path)
        assert.is_true(value == 1 or value == 2)
      end
      for i = 1, 2 do assert.are.equal(0, child.wait(pids[i])) end
      assert.are.equal(1, files())
    end)

    it("survives a full disk: " .. ending, function()
      local path = folder .. "/x" .. ending
      lt.save(full(1, 100), path)
      -- the limit stands for a disk of that size; without care the process would end by SIGXFSZ
      local status, output = child.run(([[
        print(pcall(lt.save, lt.zeros(1000000), %q))
        print(pcall(lt.save, lt.zeros(1000), %q))
      ]]):format(path, path .. ".npy"), "ulimit -f 100 &&")
      assert.are.equal(0, status, output)
      assert.is_truthy(output:find("x" .. ending .. ": writing failed: File too large", 1, true), output)
      assert.is_truthy(output:find("true", 1, true), output)
      assert.are.equal(1, value_of(path, 100))
      assert.are.equal(2, files())
    end)

    it("keeps its mode, a new one gets that of the process: " .. ending, function()
      local path = folder .. "/x" .. ending
      lt.save(full(1, 3), path)
      local plain = child.shell(("touch %s/plain && stat -c %%a %s/plain"):format(folder, folder))
      assert.are.equal(plain, child.shell("stat -c %a " .. path))
      os.execute("chmod 640 " .. path)
      lt.save(full(2, 3), path)
      assert.are.equal("640", child.shell("stat -c %a " .. path))
      assert.are.equal(2, value_of(path, 3))
    end)

    it("is reached through links, which stay: " .. ending, function()
      local path, link, other = folder .. "/x" .. ending, folder .. "/link" .. ending, folder .. "/other" .. ending
      lt.save(full(1, 3), path)
      os.execute(("ln -s x%s %s && ln -s link%s %s"):format(ending, link, ending, other))
      lt.save(full(2, 3), other)
      assert.are.equal(2, value_of(path, 3))
      assert.are.equal("x" .. ending, child.shell("readlink " .. link))
      os.remove(path)
      lt.save(full(3, 3), other) -- now the links lead to a file that is not there yet
      assert.are.equal(3, value_of(path, 3))
      os.execute(("ln -sf other%s %s"):format(ending, link))
      local ok, message = pcall(lt.save, full(4, 3), link)
      assert.is_false(ok)
      assert.is_truthy(message:find("Too many levels of symbolic links", 1, true), message)
    end)

    it("is none when a pipe or a folder stands there: " .. ending, function()
      local pipe, inner = folder .. "/pipe" .. ending, folder .. "/folder" .. ending
      local full_disk = folder .. "/full" .. ending
      os.execute(("mkfifo %s && mkdir %s && ln -s /dev/full %s"):format(pipe, inner, full_disk))
      for _, path in ipairs{pipe, inner, full_disk} do
        local ok, message = pcall(lt.save, full(1, 3), path)
        assert.is_false(ok)
        assert.is_truthy(message:find(path .. ": not a regular file", 1, true), message)
      end
      local ok, message = pcall(lt.save, full(1, 3), folder .. "/nowhere/x" .. ending)
      assert.is_false(ok)
      assert.is_truthy(message:find("No such file or directory", 1, true), message)
      assert.are.equal(3, files())
    end)
  end

  it("has a name as long as names may be", function()
    local path = folder .. "/" .. ("x"):rep(251) .. ".npy"
    lt.save(full(1, 3), path)
    assert.are.equal(1, value_of(path, 3))
  end)

  it("leaves temporary files of living processes and of other targets alone", function()
    local path = folder .. "/x.npy"
    local living, other = path .. ".0123456789abcdef.tmp", folder .. "/y.npy.0123456789abcdef.tmp"
    local dead, alike = path .. ".fedcba9876543210.tmp", path .. ".0123456789abcdef.tmp.gz"
    os.execute(("touch %s %s %s %s"):format(living, other, dead, alike))
    local holder = assert(io.open(living, "wb"))
    assert.are.equal(0, child.lock(holder))
    lt.save(full(1, 3), path)
    assert.are.equal("gone", child.shell("ls " .. dead .. " 2> /dev/null || echo gone"))
    assert.are.equal(living, child.shell("ls " .. living))
    assert.are.equal(other, child.shell("ls " .. other))
    assert.are.equal(alike, child.shell("ls " .. alike))
    holder:close()
  end)
end)

describe("a file that is loaded", function()
  local folder

  before_each(function() folder = child.folder() end)
  after_each(function() child.remove_folder(folder) end)

  it("may be cut while it is read", function()
    local base = require("lunette.ffi")
    local path = folder .. "/x.safetensors"
    lt.save({a = lt.ones(100000, cpu)}, path)
    local file, out = base.ffi.new("ln_file *[1]"), base.ffi.new("ln_tensor *[1]")
    base.check(base.C.ln_file_open(path, file))
    os.execute("truncate -s 300 " .. path)
    local ok, message = pcall(base.check, base.C.ln_file_tensor(file[0], 128, 390000, false, out))
    base.C.ln_file_close(file[0])
    assert.is_false(ok)
    assert.is_truthy(message:find("x.safetensors: the file became shorter while it was read", 1, true), message)
  end)

  it("is no pipe, which would be waited for", function()
    local pipe = folder .. "/pipe"
    os.execute("mkfifo " .. pipe)
    for _, load in ipairs{lt.load, lt.read_file} do
      local ok, message = pcall(load, pipe)
      assert.is_false(ok)
      assert.is_truthy(message:find("pipe: not a regular file", 1, true), message)
    end
  end)

  it("leaves no file open when it is refused", function()
    local path = folder .. "/x"
    os.execute(("printf 'neither one nor the other' > %s"):format(path))
    for _ = 1, 200 do assert.is_false(pcall(lt.load, path)) end
    lt.gc()
    assert.is_true(tonumber(child.shell("ls /proc/$PPID/fd | wc -l")) < 100)
  end)
end)
