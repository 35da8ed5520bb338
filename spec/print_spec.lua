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

describe("set_printoptions", function()
  after_each(function() lt.set_printoptions(defaults) end)

  local wrong = {
    {{precision = 0 / 0}, "precision must be a whole number from 0 to 100, not"},
    {{precision = 1e9}, "precision must be a whole number from 0 to 100, not 1000000000"},
    {{precision = -1}, "precision must be a whole number from 0 to 100, not -1"},
    {{precision = 2.5}, "precision must be a whole number from 0 to 100, not 2.5"},
    {{precision = "4"}, [[precision must be a whole number from 0 to 100, not the string "4"]]},
    {{threshold = 0 / 0}, "threshold must be a number from 0"},
    {{edgeitems = -1}, "edgeitems must be a whole number from 0, not -1"},
    {{edgeitems = math.huge}, "edgeitems must be a whole number from 0, not inf"},
    {{linewidth = 0}, "linewidth must be a number from 1, not 0"},
    {{sci_mode = 1}, "sci_mode must be true or false, not 1"},
    {{presicion = 4}, "has no option 'presicion'; did you mean 'precision'?"},
    {{4}, "has no option '1'"},
    {4, "takes a table of options, not 4"},
  }

  for _, case in ipairs(wrong) do
    it("refuses: " .. case[2], function()
      local before = tostring(lt.ones(2) / 3)
      local options = case[1]
      if type(options) == "table" then options = lt.merge({sci_mode = nil, threshold = 0}, options) end
      local ok, message = pcall(lt.set_printoptions, options)
      assert.is_false(ok)
      assert.is_truthy(message:find("set_printoptions", 1, true) and message:find(case[2], 1, true), message)
      assert.are.equal(before, tostring(lt.ones(2) / 3)) -- nothing was changed
    end)
  end

  it("takes as many digits as there are, and any width", function()
    lt.set_printoptions{precision = 100, linewidth = math.huge, threshold = math.huge, sci_mode = false}
    local text = tostring(lt.tensor({-1.5e308, 0.5}, {dtype = "float64", device = "cpu"})):match("%-%d+%.%d+")
    assert.are.equal(1 + 309 + 1 + 100, #text)
    assert.are.equal(-1.5e308, tonumber(text))
  end)
end)

describe("a large tensor", function()
  it("is printed by its edges, which alone are read", function()
    local t = lt.arange(2, {device = "cpu"}):reshape(2, 1):expand(2, 2 ^ 40)
    assert.are.equal("tensor([[0., 0., 0.,  ..., 0., 0., 0.],\n        [1., 1., 1.,  ..., 1., 1., 1.]])", tostring(t))
  end)
end)
