--- What the specs of layers share: the numbers of spec/fixtures/nn.py, made again, and comparison with its results.

local assert = require("luassert")
local lt = require("lunette")

local helper = {}

local here = debug.getinfo(1, "S").source:match("^@(.*)nn/helper%.lua$")
helper.fixtures = dofile(here .. "fixtures/nn.lua")

--- sin(i + phase) in the given shape.
function helper.wave(shape, phase)
  local n, data = 1, {}
  for _, size in ipairs(shape) do n = n * size end
  for i = 1, n do data[i] = math.sin(i - 1 + (phase or 0)) end
  return lt.tensor(data):reshape(shape)
end

--- Gives the parameters of a module the numbers that nn.py gives them.
function helper.fill(module)
  for i, p in ipairs(module:parameters()) do p.data:copy_(helper.wave({p.shape:unpack()}, 0.5 * (i - 1))) end
  return module
end

local function flat(t) return t:detach():reshape(-1):tolist() end

--- Raises unless t has the shape and, nearly, the values of a fixture {shape =, data =}.
function helper.check(expected, t, tolerance)
  assert.are.same(expected.shape, {t.shape:unpack()})
  local values = #expected.shape == 0 and {t:item()} or flat(t)
  for i, want in ipairs(expected.data) do
    local got = values[i]
    local near = math.abs(got - want) <= (tolerance or 1e-5) * (1 + math.abs(want))
    if not near then
      error(("element %d is %.9g, expected %.9g"):format(i - 1, got, want), 2)
    end
  end
end

return helper
