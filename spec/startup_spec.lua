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
