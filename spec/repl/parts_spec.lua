--- The parts of the prompt by themselves: the lexer, chunks, completion, values as they are shown.

if require("spec.once").done then return end

local lt = require("lunette")
local compile = require("lunette.repl.compile")
local complete = require("lunette.repl.complete")
local lexer = require("lunette.repl.lexer")
local show = require("lunette.repl.show")

local function words(text)
  local list = {}
  for i, token in ipairs((lexer.tokens(text))) do list[i] = token.text end
  return list
end

describe("the lexer", function()
  it("splits every kind of token", function()
    assert.are.same({"x", "=", "1e-3", "..", "0x1p+2", "~=", "[==[a]]b]==]", "'it\\'s'", "...", "a", ".", "b"},
      words("x = 1e-3 .. 0x1p+2 ~= [==[a]]b]==] 'it\\'s' ... a.b -- end\n--[[ long\n]]"))
  end)

  it("knows what is open at the end", function()
    for _, text in ipairs{"'abc", "[[abc", "\"a\\\""} do
      local tokens = lexer.tokens(text)
      assert.is_true(tokens[#tokens].open, text)
    end
    assert.is_true(select(2, lexer.tokens("x --[[ abc")))
    assert.is_false(select(2, lexer.tokens("x --[[ abc ]]")))
  end)
end)

-- The results of a text, and the names it declares.
local function run(text, env)
  local chunks = assert(compile.chunks(text))
  local results, names = {}, {}
  for _, chunk in ipairs(chunks) do
    for _, name in ipairs(chunk.declared) do names[#names + 1] = name end
    results = {setfenv(chunk.run, env or setmetatable({}, {__index = _G}))()}
  end
  return results, names
end

describe("chunks", function()
  it("declare what stands in no block", function()
    local _, names = run("local a, b = 1\nlocal function f() local inner = 2 end\nlocal c\ndo local d = 1 end for i = 1, 2 do local e = i end if a then local g end")
    assert.are.same({"a", "b", "f", "c"}, names)
    assert.are.same({4}, run("local a local b; local c\n;(function() c = 4 end)() return c"))
    assert.are.same({7}, run("local x = 7 return x"))
    assert.are.same({3}, run("local s = 0 for _, v in ipairs{1, 2} do s = s + v end return s"))
    assert.are.same({"local function while do"}, run("'local function while do'"))
  end)

  it("are finished, go on or are wrong", function()
    for _, text in ipairs{"1 +", "for i = 1, 2 do", "if x then", "f(", "{1,", "[[a", "--[[ a", "'a\\", "function f()", "repeat", "x =", "a = 1\nfor i = 1, 2 do"} do
      assert.are.equal("more", select(2, compile.chunks(text)), text)
    end
    for _, text in ipairs{"1 + + 2", "end", "'a", "x y", "for 1"} do
      local chunks, message = compile.chunks(text)
      assert.is_nil(chunks, text)
      assert.are_not.equal("more", message, text)
    end
    assert.are.same({}, compile.chunks("  "))
    assert.are.same({}, compile.chunks("-- a comment"))
    assert.are.equal(3, #compile.chunks("x = 1\nx\nx + 1"))
  end)

  it("name the lines that were typed", function()
    local ok, message = pcall(run, "local a = 1\nlocal b = function()\n  error('here')\nend\nb()")
    assert.is_false(ok)
    assert.are.equal("(prompt):3: here", message)
  end)
end)

describe("completion", function()
  local session = {declared = {mine = true}, env = setmetatable({mine = 1, x = lt.ones(2, 3)}, {__index = _G})}
  local globals = {lt = lt, nn = lt.nn, F = lt.nn.functional, optim = lt.optim}
  setmetatable(session.env, {__index = function(_, name) return globals[name] or _G[name] end})
  session.env.net = lt.nn.Sequential{{"first", lt.nn.Linear(2, 3)}, {"second", lt.nn.ReLU()}}

  local function offered(line, word)
    local set = {}
    for _, name in ipairs(complete.words(session, line, word)) do set[name] = true end
    return set
  end

  it("offers globals, local names and keywords", function()
    assert.are.same({"mine"}, complete.words(session, "mi", "mi"))
    assert.are.same({"string"}, complete.words(session, "print(stri", "stri"))
    assert.is_true(offered("fun", "fun")["function"])
    assert.are.same({}, complete.words(session, "-- mi", "mi"))
  end)

  it("offers what an object has", function()
    assert.is_true(offered("nn.Lin", "nn.Lin")["nn.Linear"])
    assert.is_true(offered("lt.matm", "lt.matm")["lt.matmul"])
    assert.is_true(offered("x:requires_", "x:requires_")["x:requires_grad_"])
    assert.is_true(offered("x.requires", "x.requires")["x.requires_grad"])
    assert.is_true(offered("x:su", "x:su")["x:sum"])
    assert.is_true(offered("net.", "net.")["net.first"])
    assert.are.same({"net.first.weight"}, complete.words(session, "net.first.we", "net.first.we"))
    assert.is_true(offered("net:named_p", "net:named_p")["net:named_parameters"])
    assert.is_true(offered("net[0].we", ".we")[".weight"])
    assert.is_true(offered("('a'):sum():su", ":su")[":sum"])
    assert.is_true(offered("?nn.Lin", "nn.Lin")["nn.Linear"])
    assert.is_true(offered("%time nn.Lin", "nn.Lin")["nn.Linear"])
    assert.are.same({}, complete.words(session, "bogus.x", "bogus.x"))
  end)

  it("offers the options of a call", function()
    assert.are.same({"in_features="}, complete.words(session, "nn.Linear{in_", "in_"))
    assert.are.same({"keepdim="}, complete.words(session, "lt.sum(x, {ke", "ke"))
    assert.are.same({"keepdim="}, complete.words(session, "x:sum(0, {ke", "ke"))
    assert.is_true(offered("optim.Adam(net:parameters(), {l", "l")["lr="])
    assert.is_true(offered("nn.Linear{in_features = mi", "mi").mine)
  end)

  it("offers files inside a string", function()
    local folder = require("spec.child").folder()
    finally(function() require("spec.child").remove_folder(folder) end)
    io.open(folder .. "/a model.pt", "w"):close()
    assert.are.same({"model.pt"}, complete.words(session, "lt.load('" .. folder .. "/a mode", "mode"))
    assert.are.same({folder .. "/a model.pt"}, complete.words(session, "lt.load('" .. folder .. "/a", folder .. "/a"))
  end)
end)

describe("values are shown:", function()
  local function text(value) return show.text(value) end

  it("numbers, strings, nothing, None", function()
    assert.are.equal("0.5", text(0.5))
    assert.are.equal("\"a\\n\\\"b\\\"\\\\ \\000\"", text("a\n\"b\"\\ \0"))
    assert.are.equal("nil", text(nil))
    assert.are.equal("None", text(lt.None))
    assert.matches("more bytes%)$", text(("a"):rep(5000)))
  end)

  it("tables: arrays, names, nested, cycles, long and deep ones", function()
    assert.are.equal("{1, 2, [\"a b\"] = true, [\"end\"] = 1, x = 3}", text({1, 2, x = 3, ["a b"] = true, ["end"] = 1}))
    assert.are.equal("{}", text({}))
    local t = {1}
    t[2] = t
    assert.are.equal("{1, <cycle>}", text(t))
    assert.are.equal("{{{{{...}}}}}", text({{{{{1}}}}}))
    local long = {}
    for i = 1, 1000 do long[i] = i end
    assert.matches("%.%.%. 960 more\n}$", text(long))
    assert.are.equal("{\n  a = \"" .. ("x"):rep(60) .. "\",\n  b = \"" .. ("x"):rep(60) .. "\"\n}", text({a = ("x"):rep(60), b = ("x"):rep(60)}))
  end)

  it("tensors, modules, classes, packages, functions, state dicts", function()
    local device = lt.get_default_device()
    lt.set_default_device("cpu")
    finally(function() lt.set_default_device(device) end)
    assert.are.equal("tensor([1., 1.])", text(lt.ones(2)))
    assert.are.equal("{tensor([1., 1.]), <tensor {4, 4} float32>}", text({lt.ones(2), lt.ones(4, 4)}))
    assert.are.equal("class nn.Linear", text(lt.nn.Linear))
    assert.matches("^package nn", text(lt.nn))
    assert.are.equal("function lt.sum", text(lt.sum))
    assert.are.equal("function F.relu", text(lt.nn.functional.relu))
    assert.are.equal("function string.rep", text(string.rep))
    assert.matches("^function %(.*parts_spec.lua:%d+%)$", text(function() end))
    assert.are.equal("{2, 3}", text(lt.ones(2, 3).shape))
    assert.matches("^{ *weight = .*bias = ", (text(lt.nn.Linear(2, 3):state_dict()):gsub("\n", "")))
  end)
end)
