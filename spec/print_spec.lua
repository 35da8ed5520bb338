--- Tensors print as PyTorch prints them, letter by letter: the cases of spec/fixtures/print.py.

local lt = require("lunette")

local here = debug.getinfo(1, "S").source:match("^@(.*)print_spec%.lua$")
local cases = dofile(here .. "fixtures/print.lua")

local defaults = {precision = 4, threshold = 1000, edgeitems = 3, linewidth = 80}

describe("tostring is PyTorch's for", function()
  local device = lt.get_default_device() -- another one would be printed too
  setup(function() lt.set_default_device("cpu") end)
  teardown(function() lt.set_default_device(device) end)

  after_each(function() lt.set_printoptions(defaults) end)

  for _, case in ipairs(cases) do
    it(case[1], function()
      lt.set_printoptions(case[3] or defaults)
      local make = assert(loadstring("local lt = ... return " .. case[1]))
      assert.are.equal(case[2], tostring(make(lt)))
    end)
  end
end)
