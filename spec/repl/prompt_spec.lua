--- The prompt on a real terminal: what is typed, what it answers, Ctrl-C, Tab, the history.

if require("spec.once").done then return end

local child = require("spec.child")
local Terminal = require("spec.terminal")
local ffi = require("ffi")

local here = debug.getinfo(1, "S").source:match("^@(.*)spec/repl/prompt_spec%.lua$")
local COMMAND = (here == "" and "./" or here) .. "lua/lunette/bin/lunette"

local folder
setup(function() folder = child.folder() end)
teardown(function() child.remove_folder(folder) end)

local function has(name) return (pcall(ffi.load, name)) end

local function start(editor, more)
  local environment = {TERM = "xterm", NO_COLOR = "1", LUNETTE_READLINE = editor or "none", LUNETTE_HISTORY = folder .. "/history", INPUTRC = "/dev/null",
                       LUNETTE_TEST_DEVICE = false}
  for name, value in pairs(more or {}) do environment[name] = value end
  local terminal = Terminal.start({COMMAND}, environment)
  terminal:wait("Ctrl-D leaves")
  terminal:wait("> ")
  return terminal
end

local function finish(terminal)
  terminal:type("\4")
  assert.are.equal(0, terminal:finish("\4"))
end

-- What stands between the echo of a line and the next prompt.
local function answer(terminal, line)
  terminal:type(line .. "\n")
  terminal:wait(line:match("[^\n]*$"))
  return (terminal:wait("\n> "):gsub("\r", ""):gsub("^\n", ""))
end

local function interrupted(terminal, line)
  terminal:type("print('go' .. 'ing') " .. line .. "\n")
  terminal:wait("going")
  for _ = 1, 6 do terminal:take(50) end -- so that loops are compiled
  terminal:type("\3")
  terminal:wait("interrupted")
  terminal:wait("> ")
end

describe("the prompt", function()
  it("shows values, several results, nothing for a statement, and remembers the last in _", function()
    local t = start()
    assert.are.equal("2", answer(t, "1 + 1"))
    assert.are.equal("3", answer(t, "_ + 1"))
    assert.are.equal("1\n\"a\\n\"\nnil", answer(t, "1, 'a\\n', nil"))
    assert.are.equal("", answer(t, "y = 4"))
    assert.are.equal("nil", answer(t, "unknown"))
    assert.are.equal("", answer(t, "(function() return nil end)()"))
    assert.are.equal("tensor([1., 1.])", answer(t, "lt.ones(2)"))
    assert.are.equal("Linear(in_features=1, out_features=2, bias=True)", answer(t, "nn.Linear(1, 2)"))
    assert.are.equal("function F.relu", answer(t, "F.relu"))
    assert.are.equal("4", answer(t, "= y"))
    finish(t)
  end)

  it("goes on while a text is not finished", function()
    local t = start()
    for _, lines in ipairs{{"1 +", "2"}, {"(function()", "return 3 end)()"}, {"#[[ab", "]]"}, {"({3})[", "1]"}} do
      t:type(lines[1] .. "\n")
      t:wait(">> ")
      assert.are.equal("3", answer(t, lines[2]))
    end
    finish(t)
  end)

  it("keeps names that are declared by local, and lets them hide standard ones without harm", function()
    local t = start()
    answer(t, "local a, b = 5")
    assert.are.equal("5\nnil", answer(t, "a, b"))
    answer(t, "local function double(x) return 2 * x end")
    assert.are.equal("10", answer(t, "double(a)"))
    answer(t, "local print = print")
    assert.are.equal("1", answer(t, "print(1)"))
    answer(t, "local string, table")
    assert.are.equal("nil", answer(t, "string"))
    assert.are.equal("tensor([0.])", answer(t, "lt.zeros(1)"))
    assert.matches("a .*double", answer(t, "%who"))
    answer(t, "%reset")
    assert.are.equal("no names yet", answer(t, "%who"))
    assert.are.equal("nil", answer(t, "a"))
    finish(t)
  end)

  it("shows an error with the frames of what was typed alone", function()
    local t = start()
    answer(t, "function f(x) return x:sum(7) + 1 end")
    local text = answer(t, "f(lt.ones(2)) + 1")
    assert.matches("^%(prompt%):1: sum: dim 7 is out of range", text)
    assert.matches("in function 'f'\n  %(prompt%):1: in main chunk$", text)
    assert.is_nil(text:find("lunette/", 1, true))
    assert.matches("unexpected symbol near '%+'", answer(t, "1 + + 2"))
    assert.matches("^%(prompt%):1: attempt to index global 'bogus' %(a nil value%)$", answer(t, "bogus.x"))
    finish(t)
  end)

  it("is left by quit, exit and the end of input", function()
    for _, word in ipairs{"quit", "exit", "quit()", "exit()"} do
      local t = start()
      t:type(word .. "\n")
      assert.are.equal(0, t:finish())
    end
    local t = start()
    t:type("os.exit(9)\n")
    assert.are.equal(9, t:finish())
  end)

  it("explains names and values", function()
    local t = start()
    for _, line in ipairs{"?lt.softmax", "lt.softmax?", "help(lt.softmax)", "?softmax", "%help lt.softmax"} do
      assert.matches("lt.softmax(input:tensor, dim:int", answer(t, line), 1, true)
    end
    assert.matches("nn.Linear(in_features", answer(t, "?nn.Linear"), 1, true)
    answer(t, "net = nn.Linear(1, 1)")
    assert.matches("nn.Linear(in_features", answer(t, "net?"), 1, true)
    assert.matches("a tensor of shape {1, 1}", answer(t, "net.weight?"), 1, true)
    assert.matches("lt.sum(input", answer(t, "?net.weight:sum"), 1, true)
    assert.matches("optim.Adam ", answer(t, "?optim"), 1, true)
    assert.matches("did you mean 'softmax'", answer(t, "?sofmax"), 1, true)
    finish(t)
  end)

  it("measures times", function()
    local t = start()
    assert.matches("^3\ntime: .* processor: ", answer(t, "%time 1 + 2"))
    assert.matches("^[%d%.]+ %as %+%- [%d%.e%-]+ %as a loop %(7 runs of %d+%)$", answer(t, "%timeit 1 + 2"))
    assert.matches("there is no command %%bogus: there are %%time", answer(t, "%bogus"))
    assert.matches("unexpected symbol", answer(t, "%timeit +"))
    finish(t)
  end)

  it("has colours only where the terminal has them", function()
    local coloured = start(nil, {NO_COLOR = ""})
    assert.matches("\27%[32m\"a\"\27%[0m", answer(coloured, "'a'"))
    finish(coloured)
    local dumb = start(nil, {NO_COLOR = "", TERM = "dumb"})
    assert.are.equal("\"a\"", answer(dumb, "'a'"))
    finish(dumb)
  end)
end)

describe("Ctrl-C", function()
  it("stops what runs and gives the prompt back: Lua, compiled or not, tensors, errors that are caught, coroutines", function()
    local t = start()
    for _, line in ipairs{
      "while true do end", "local n = 0 while true do n = n + 1 end", "repeat until false", "local function f() return f() end f()",
      "x = lt.ones(3) while true do x = x * 1 end", "while true do pcall(function() x = x * 1 end) end", "while true do pcall(error, 1) end",
      "coroutine.wrap(function() while true do x = x + 1 end end)()", "while true do lt.no_grad(function() return x + 1 end) end",
      "net = nn.Linear(3, 3) while true do net(x):sum():backward() end",
      "y = lt.rand(1500, 1500) while true do y:matmul(y) end", "while true do lt.randn(20000000):exp() end",
    } do
      interrupted(t, line)
      assert.are.equal("2", answer(t, "1 + 1"), line)
    end
    assert.are.equal("true", answer(t, "lt.is_grad_enabled()"))
    finish(t)
  end)

  it("stops compiled loops of other files", function()
    local path = folder .. "/endless.lua"
    local file = io.open(path, "w")
    file:write("local n = 0\nreturn {plain = function() while true do n = n + 1 end end, tail = function(f) return f(f) end}\n")
    file:close()
    local t = start()
    answer(t, ("other = dofile(%q)"):format(path))
    interrupted(t, "other.plain()")
    interrupted(t, "other.tail(other.tail)")
    assert.are.equal("2", answer(t, "1 + 1"))
    finish(t)
  end)

  it("ends a product that takes seconds before it is done", function()
    local t = start()
    answer(t, "z = lt.rand(6000, 6000)")
    interrupted(t, "z:matmul(z):matmul(z):matmul(z):matmul(z):matmul(z):matmul(z)")
    assert.are.equal("2", answer(t, "1 + 1"))
    finish(t)
  end)
end)

-- With an editor the terminal does not echo lines as they are, so only answers are looked at.
for _, editor in ipairs{"libreadline.so.8", "libedit.so.2", "none"} do
  if editor == "none" or has(editor) then
    describe("with " .. editor .. " the prompt", function()
      it("drops a line that is half typed at Ctrl-C, also inside a block", function()
        local t = start(editor)
        t:type("half typed")
        for _ = 1, 4 do t:take(50) end
        t:type("\3")
        t:wait("> ")
        t:type("for i = 1, 2 do\r")
        t:wait(">> ")
        t:type("\3")
        t:wait("> ")
        t:enter("40 + 2", "42")
        t:wait("> ")
        finish(t)
      end)

      it("writes the history at once, a block as one entry", function()
        os.remove(folder .. "/history")
        local t = start(editor)
        t:type("for i = 1, 2 do\r")
        t:wait(">> ")
        t:enter("print(i) end", "2")
        t:wait("> ")
        t:enter("'\\\\'", "\"\\\\\"")
        t:wait("> ")
        local file = io.open(folder .. "/history")
        local text = file:read("*a")
        file:close()
        assert.are.equal("for i = 1, 2 do\\nprint(i) end\n'\\\\\\\\'\n", text)
        finish(t)
        assert.are.equal("rw-------", child.shell("ls -l '" .. folder .. "/history'"):sub(2, 10))
      end)
    end)
  end
end

local function editing(editor, body)
  if has(editor) then body(editor) end
end

for _, editor in ipairs{"libreadline.so.8", "libedit.so.2"} do
  editing(editor, function()
    describe("Tab with " .. editor, function()
      it("completes", function()
        local t = start(editor)
        t:type("nn.BatchNorm1\t(4)\r")
        t:wait("BatchNorm1d(4, eps=1e-05")
        t:wait("> ")
        t:enter("first_name = 17")
        t:wait("> ")
        t:enter("first_\t + 1", "18")
        t:wait("> ")
        finish(t)
      end)
    end)
  end)
end

editing("libreadline.so.8", function(editor)
  describe("Ctrl-R", function()
    it("finds an entry again", function()
      local t = start(editor)
      t:enter("first_name = 17", "> ")
      t:enter("first_name + 1", "18")
      t:wait("> ")
      t:type("\18first_n")
      for _ = 1, 10 do t:take(50) end
      t:type("\r")
      t:wait("18\r\n")
      t:wait("> ")
      finish(t)
    end)
  end)

  describe("a block that is pasted", function()
    it("runs whole", function()
      local t = start(editor)
      t:type("\27[200~local a = 1\nlocal b = 2\nfor i = 1, 3 do\n  a = a + b\nend\na * 100\n\27[201~\r")
      t:wait("700")
      t:wait("> ")
      finish(t)
    end)
  end)
end)
