--- The reference: every public thing has a sentence and a signature, and help finds it by name and by the thing itself.

local lt = require("lunette")
local help = require("lunette.repl.help")
local reference = require("lunette.reference")
local nn, F, optim = lt.nn, lt.nn.functional, lt.optim

-- The names of what is found.
local function found(subject)
  local names = {}
  for i, entry in ipairs(reference.find(subject)) do names[i] = entry.name end
  return names
end

-- What help prints.
local function shown(...)
  local lines, real = {}, print
  _G.print = function(text) lines[#lines + 1] = text end -- luacheck: ignore
  local ok, message = pcall(help.help, ...)
  _G.print = real -- luacheck: ignore
  assert(ok, message)
  return table.concat(lines, "\n")
end

describe("the reference", function()
  it("has a sentence and a signature for every public thing, each under one name", function()
    local seen, without = {}, {}
    for _, entry in ipairs(reference.entries()) do
      assert.is_nil(seen[entry.name], entry.name)
      seen[entry.name] = true
      if not (entry.doc and entry.doc:find("[%.:?]") and #entry.signatures > 0) then without[#without + 1] = entry.name end
    end
    assert.are.same({}, without)
  end)

  it("leaves out no public function of a package", function()
    local seen = {}
    for _, entry in ipairs(reference.entries()) do seen[entry.name] = true end
    local packages = {["F."] = F, ["nn."] = nn, ["nn.init."] = nn.init, ["optim."] = optim, ["optim.lr_scheduler."] = optim.lr_scheduler, ["data."] = lt.data}
    for title, package in pairs(packages) do
      for name, thing in pairs(package) do
        local public = not name:find("^_") and (type(thing) == "function" or type(thing) == "table" and rawget(thing, "__name"))
        if public then assert.is_true(seen[title .. name] == true, title .. name) end
      end
    end
    for _, name in ipairs{"lt.add", "lt.max", "lt.zeros", "lt.deepcopy", "lt.save", "lt.no_grad", "lt.cuda.is_available", "lt.autograd.grad", "Tensor:view_as",
      "Tensor:register_hook", "nn.Module:state_dict", "nn.Sequential:append", "nn.Embedding:from_pretrained", "optim.Optimizer:step"} do
      assert.is_true(seen[name], name)
    end
  end)

  it("has no example of what does not exist", function()
    local names = {}
    for _, entry in ipairs(reference.entries()) do names[entry.name] = true end
    for name in pairs(reference.examples()) do assert.is_true(names[name] == true, name) end
  end)

  it("is found by qualified name, by all names that end in a bare one, by function, by class and by object", function()
    assert.are.same({"F.relu"}, found("F.relu"))
    assert.are.same({"F.relu"}, found("lt.nn.functional.relu"))
    assert.are.same({"lt.relu", "F.relu"}, found("relu"))
    assert.are.same({"F.relu"}, found(F.relu))
    assert.are.same({"lt.relu"}, found(lt.relu))
    assert.are.same({"lt.sigmoid"}, found(F.sigmoid))
    assert.are.same({"nn.Linear"}, found(nn.Linear))
    assert.are.same({"nn.Linear"}, found(nn.Linear(1, 1)))
    assert.are.same({"nn.Module:train"}, found("train"))
    assert.are.same({"optim.SGD"}, found(optim.SGD({lt.ones(1)}, {lr = 1})))
    assert.are.same({"lt.zeros"}, found(lt.zeros))
    assert.are.same({"data.DataLoader"}, found(lt.data.DataLoader))
    assert.are.same({"nn.Module"}, found(nn.Module:subclass("Net")()))
    assert.are.same({}, found("bogus"))
    assert.are.same({}, found(3))
  end)

  it("gives the signature that the function checks its arguments by", function()
    for name, signature in pairs{
      ["lt.randperm"] = "n:int>=0, *, dtype:dtype?, device:device?, requires_grad:bool=false, generator:generator?",
      ["Tensor:view_as"] = "self:tensor, other:tensor", ["nn.Module:train"] = "mode:bool=true", ["nn.init.constant_"] = "tensor:tensor, val:scalar",
      ["lt.unpack"] = "list:map",
    } do
      assert.are.equal(signature, reference.find(name)[1].signatures[1])
    end
    assert.are.equal(3, #reference.find("lt.max")[1].signatures)
  end)
end)

describe("help", function()
  it("shows how a thing is called and what it does", function()
    assert.are.equal("nn.init.constant_(tensor:tensor, val:scalar)\n  Fills with val.\n  > nn.init.constant_(lt.empty(2), 0.3)\n  tensor([0.3000, 0.3000])", shown("nn.init.constant_"))
    local text = shown(nn.Linear)
    assert.matches("^nn%.Linear%(in_features:int>=0, out_features:int>=0, bias:bool=true", text)
    assert.matches("m = nn.Linear(...) is called m(input:tensor)", text, 1, true)
    assert.matches("> nn.Linear", text, 1, true)
  end)

  it("shows all things of a bare name", function()
    local text = shown("softmax")
    assert.matches("lt.softmax(input:tensor, dim:int, dtype:dtype?)", text, 1, true)
    assert.matches("F.softmax(", text, 1, true)
  end)

  it("suggests names, and lists all", function()
    assert.matches("nothing is known about Liner; did you mean 'Linear'", shown("Liner"))
    assert.matches("nn%.Linear .*F%.relu", shown())
  end)
end)
