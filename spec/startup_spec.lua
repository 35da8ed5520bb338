--- Starting is quick because it does little: what a script does not use is neither loaded nor compiled. Times differ between machines, so what was done
--- is counted instead.

local child = require("spec.child")

-- What `source` printed, by lines, in a process that has just loaded Lunette.
local function lines_of(source)
  local status, output = child.run(source)
  assert.are.equal(0, status, output)
  local lines = {}
  for line in output:gmatch("[^\n]+") do lines[line] = true end
  return lines
end

describe("starting", function()
  it("loads no module that the first tensor does not need", function()
    local loaded = lines_of("local t = lt.tensor{1, 2, 3} for name in pairs(package.loaded) do print(name) end")
    assert.is_true(loaded["lunette.create"])
    for _, name in ipairs{"nn", "optim", "data", "print", "index", "save", "gradcheck", "autograd.engine", "autograd.modes", "autograd.custom", "autograd.scope"} do
      assert.is_nil(loaded["lunette." .. name], name)
    end
  end)

  it("writes no operator's function before it is called", function()
    local written = lines_of("local ops = require('lunette.ops') local _ = lt.nn, lt.optim for name, value in pairs(ops) do "
      .. "if ops.info[name] or ops.info[name:gsub('_$', '')] then print(name) end end")
    assert.are.same({}, written)
  end)
end)

describe("an installed tree", function()
  local here = debug.getinfo(1, "S").source:match("^@(.*)spec/startup_spec%.lua$")
  local STEP = [[
    local net = lt.nn.Sequential(lt.nn.Linear(2, 3), lt.nn.ReLU())
    local optimizer = lt.optim.Adam(net:parameters())
    net(lt.ones(4, 2)):sum():backward()
    optimizer:step()
    print(tostring(lt.autograd.Function) ~= "", lt.nn.init.zeros_(lt.ones(2)):sum():item())]]
  local folder

  -- What a process prints that takes Lunette from the folder.
  local function run()
    local path = ("LUA_PATH='%s/?.lua;%s/?/init.lua;;' LUNETTE_LIBRARY='%s'"):format(folder, folder, require("lunette.ffi").registry.path)
    local pipe = assert(io.popen(("%s luajit -e 'local lt = require(\"lunette\") %s' 2>&1"):format(path, STEP)))
    local output = pipe:read("*a")
    pipe:close()
    return output
  end

  before_each(function()
    folder = child.folder()
    os.execute(("cp -r '%slua/lunette' '%slib/lunette.h' '%s' && mv '%s/lunette.h' '%s/lunette' && luajit '%slua/bundle.lua' '%s/lunette'"):format(
      here, here, folder, folder, folder, here, folder))
  end)
  after_each(function() child.remove_folder(folder) end)

  it("runs from bytecode alone", function()
    os.execute(("find '%s' -name '*.lua' ! -name init.lua ! -name bundle.lua -delete; find '%s' -mindepth 3 -name init.lua -delete"):format(folder, folder))
    assert.are.equal("true\t0\n", run())
  end)

  it("runs from its text where another LuaJIT wrote the bytecode", function()
    local path = folder .. "/lunette/bytecode"
    local file = io.open(path, "rb")
    local bytes = file:read("*a")
    file:close()
    file = io.open(path, "wb")
    file:write((bytes:gsub("\27LJ.", "\27LJ\127")))
    file:close()
    assert.are.equal("true\t0\n", run())
    os.execute(("rm '%s/lunette/tensor.lua'"):format(folder))
    assert.is_truthy(run():find("module 'lunette.tensor' not found", 1, true))
  end)
end)
