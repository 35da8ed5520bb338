--- The command: scripts, code on its line, standard input, its statuses.

if require("spec.once").done then return end

local child = require("spec.child")
local Terminal = require("spec.terminal")

local here = debug.getinfo(1, "S").source:match("^@(.*)spec/repl/command_spec%.lua$")
local COMMAND = (here == "" and "./" or here) .. "lua/lunette/bin/lunette"

local folder
setup(function() folder = child.folder() end)
teardown(function() child.remove_folder(folder) end)

local function write(name, text)
  local file = assert(io.open(folder .. "/" .. name, "w"))
  file:write(text)
  file:close()
  return folder .. "/" .. name
end

-- Runs the command by a shell. @return its status, what it printed, and what it wrote as errors
local function run(arguments, input)
  local given = input and "printf '%s' '" .. input:gsub("'", "'\\''") .. "' | " or ""
  local pipe = io.popen(("%s LUNETTE_TEST_DEVICE= timeout 60 '%s' %s 2> '%s/errors'; echo \"status $?\""):format(given, COMMAND, arguments, folder))
  local output, status = pipe:read("*a"):match("^(.-)status (%d+)\n$")
  pipe:close()
  local file = io.open(folder .. "/errors")
  local errors = file:read("*a")
  file:close()
  return tonumber(status), output, errors
end

describe("the command", function()
  it("runs code, once or several times, and prints an expression", function()
    assert.are.same({0, "2\na\n{1, 2}\n", ""}, {run([[-e '1 + 1' -e 'x = {1, 2}' -e '"a"' -e x]])})
    assert.are.same({0, "1\n2\n", ""}, {run([[-e '1, 2 -- both']])})
    assert.are.same({0, "tensor([1., 1.])\n", ""}, {run([[-e 'lt.ones(2)']])})
  end)

  it("runs a script with its arguments, arg as LuaJIT has it", function()
    local path = write("script.lua", "#!/usr/bin/env lunette\nprint(select('#', ...), ..., arg[1], arg[2], arg[0], #arg)")
    assert.are.same({0, ("2\tb\ta\tb\t%s\t2\n"):format(path):gsub("^2\tb", "2\ta"), ""}, {run(path .. " a b")})
    assert.are.same({0, "-x\n", ""}, {run(write("option.lua", "print(arg[1])") .. " -x")})
  end)

  it("keeps the status of os.exit, and fails by errors with the script's frames alone", function()
    assert.are.equal(7, (run(write("exit.lua", "os.exit(7)"))))
    local path = write("fails.lua", "local lt = require('lunette')\nlocal function f(x)\n  return lt.no_grad(function() return x:sum(5) + 1 end)\nend\nlocal y = f(lt.ones(2))\nprint(y)")
    local status, output, errors = run(path)
    assert.are.equal(1, status)
    assert.are.equal("", output)
    assert.matches("^lunette: [^\n]*fails.lua:3: sum: dim 5 is out of range", errors)
    assert.matches("\nstack traceback:\n\t[^\n]*fails.lua:3: in function <[^\n]*\n.*fails.lua:5: in main chunk\n$", errors)
    assert.is_nil(errors:find("lunette/", 1, true), errors)
    status, output, errors = run(folder .. "/missing.lua")
    assert.are.same({1, ""}, {status, output})
    assert.matches("^lunette: cannot open [^\n]*missing.lua", errors)
    assert.are.equal(1, (run("-e 'error({})'")))
  end)

  it("runs standard input as a script, or follows it as a prompt would without a word", function()
    assert.are.same({0, "3\tx\n", ""}, {run("- x", "local a = 3 print(a, ...)")})
    assert.are.same({0, "3\n4\n", ""}, {run("", "local a = 3\na\nfor i = 1, 1 do\nprint(a + i)\nend\n")})
    local status, output, errors = run("", "1\nbogus.x\n2\n")
    assert.are.same({1, "1\n"}, {status, output})
    assert.matches("^lunette: %(prompt%):1: attempt to index global 'bogus'", errors)
    assert.matches("ended in the middle", select(3, run("", "for i = 1, 2 do\n")))
    assert.are.equal(5, (run("", "os.exit(5)\n")))
  end)

  it("loads modules, and opens a prompt afterwards", function()
    write("some_module.lua", "some = 12")
    local status, output = run(("-l some_module -e some"), nil)
    assert.are.equal(1, status)
    assert.are.equal("", output)
    local pipe = io.popen(("cd '%s' && LUA_PATH='./?.lua;;' '%s' -l some_module -e some"):format(folder, child.shell("realpath '" .. COMMAND .. "'")))
    assert.are.equal("12\n", pipe:read("*a"))
    pipe:close()
    assert.are.same({0, "5\n", ""}, {run("-i -e 'x = 5'", "x\n")})
  end)

  it("tells wrong usage by status 2", function()
    for _, line in ipairs{"--bogus", "-x", "-e", "-l"} do
      local status, output, errors = run(line)
      assert.are.equal(2, status, line)
      assert.are.equal("", output)
      assert.matches("^lunette: .*usage: lunette", errors)
    end
  end)

  it("says what it is", function()
    local status, output = run("--version")
    assert.are.equal(0, status)
    for _, word in ipairs{"^Lunette %d", "CPU kernels: %w", "threads: %d", "OpenBLAS: ", "oneDNN: ", "CUDA: "} do assert.matches(word, output) end
    assert.matches("^usage: lunette", select(2, run("--help")))
  end)

  it("is quiet when nobody reads on", function()
    local pipe = io.popen(("'%s' -e 'for i = 1, 1e5 do print(i) end' 2> '%s/errors' | head -n 1"):format(COMMAND, folder))
    assert.are.equal("1\n", pipe:read("*a"))
    pipe:close()
    assert.are.equal("", io.open(folder .. "/errors"):read("*a"))
  end)
end)

describe("docs/prompt.md", function()
  it("shows what the prompt does", function()
    local number = 0
    local file = io.open((here == "" and "./" or here) .. "docs/prompt.md")
    for block in file:read("*a"):gmatch("```lua prompt\n(.-)```") do
      local typed, expected = {}, {}
      for line in block:gmatch("([^\n]*)\n") do
        local code = line:match("^>>? (.*)$")
        table.insert(code and typed or expected, code or line)
      end
      assert.are.same({0, table.concat(expected, "\n") .. "\n", ""}, {run("", table.concat(typed, "\n") .. "\n")})
      number = number + 1
    end
    file:close()
    assert.are.equal(2, number)
  end)
end)

describe("Ctrl-C ends a script", function()
  local function interrupted(text)
    local t = Terminal.start({COMMAND, write("loop.lua", text)}, {TERM = "xterm", LUNETTE_TEST_DEVICE = false})
    t:wait("ready")
    for _ = 1, 6 do t:take(50) end
    t:type("\3")
    local status = t:finish()
    return status, t.seen
  end

  it("with a traceback and status 130", function()
    local status, seen = interrupted("local lt = require('lunette')\nlocal x = lt.ones(3)\nprint('ready')\nlocal function spin() while true do x = x * 1 end end\nspin()")
    assert.are.equal(130, status)
    assert.matches("loop.lua:4: interrupted\r\nstack traceback:\r\n\t[^\n]*loop.lua:4: in function 'spin'\r\n\t[^\n]*loop.lua:5: in main chunk", seen)
  end)

  it("also in a compiled loop that calls nothing", function()
    assert.are.equal(130, (interrupted("print('ready') io.stdout:flush()\nlocal n = 0\nwhile true do n = n + 1 end")))
  end)

  it("as an error that the script may catch, once", function()
    local status, seen = interrupted("local lt = require('lunette')\nlocal x = lt.ones(3)\nprint('ready')\nprint(pcall(function() while true do x = x * 1 end end))\nprint((x + 1):numel())")
    assert.are.equal(0, status)
    assert.matches("false\t[^\n]*interrupted\r\n3\r\n", seen)
  end)

  it("where the script has a handler of its own, by that", function()
    local status, seen = interrupted([[
      local ffi = require("ffi")
      ffi.cdef("typedef void (*handler)(int); handler signal(int number, handler h); int usleep(unsigned n);")
      ffi.C.signal(2, ffi.cast("handler", 1))
      print("ready") io.stdout:flush()
      for _ = 1, 20 do ffi.C.usleep(50000) end
      print("went on")]])
    assert.are.equal(0, status)
    assert.matches("went on", seen)
  end)
end)
