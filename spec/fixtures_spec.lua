--- The operators against PyTorch: the cases of spec/fixtures/ops.py, in several layouts of the inputs.

local lt = require("lunette")

local here = debug.getinfo(1, "S").source:match("^@(.*)fixtures_spec%.lua$")
local cases = dofile(here .. "fixtures/ops.lua")
local unpack = unpack

local SPECIAL = {0, -0.0, 800, -800, math.huge, -math.huge, 0 / 0, 1, -1, 0.5, -2.5, 1e-6}

local function count(shape)
  local n = 1
  for _, size in ipairs(shape) do n = n * size end
  return n
end

--- An input from its recipe; ops.py says what the kinds are.
local function make(recipe)
  local kind, shape, dtype = unpack(recipe)
  if kind == "special" then return lt.tensor(SPECIAL, {dtype = shape}) end
  if kind == "list" then return lt.tensor(shape, {dtype = "float64"}):to(dtype) end
  local values, extra = {}, recipe[4] or 0
  for i = 0, count(shape) - 1 do
    values[i + 1] = kind == "wave" and math.sin(i + extra) * 2 or (i * 7 + extra) % 11 - (dtype == "uint8" and 0 or 5)
  end
  return lt.tensor(values, {dtype = "float64"}):to(dtype):reshape(shape)
end

local layouts = {
  contiguous = function(t) return t end,
  transposed = function(t) return t:dim() > 1 and t:transpose(0, -1):contiguous():transpose(0, -1) or t end,
  sliced = function(t)
    if t:dim() == 0 then return t end
    local shape, last = {t.shape:unpack()}, t:dim() - 1
    shape[#shape] = shape[#shape] * 2 + 3
    if last > 0 then shape[1] = shape[1] + 1 end
    local view = lt.zeros(shape, {dtype = t.dtype}):narrow(0, last > 0 and 1 or 0, last > 0 and t:size(0) or shape[1])
    return view:slice(-1, 2, nil, 2):narrow(-1, 0, t:size(-1)):copy_(t)
  end,
}

-- Relative to the value, or to the largest element: sums cancel.
local TOLERANCE = {float32 = 2e-6, float64 = 1e-13, float16 = 1e-3, bfloat16 = 8e-3}

local function same(got, want, scale, tolerance)
  if want ~= want then return got ~= got end
  if want == got then return true end
  return math.abs(got - want) <= tolerance * math.max(math.abs(want), scale)
end

local function numbers(text)
  local list, scale = {}, 1e-3
  for word in text:gmatch("%S+") do
    local v = word:find("nan") and 0 / 0 or tonumber((word:gsub("inf", "1e999")))
    list[#list + 1] = v
    if v == v and math.abs(v) < math.huge then scale = math.max(scale, math.abs(v)) end
  end
  return list, scale
end

local function check(where, got, expected)
  local dtype, shape, text = unpack(expected)
  assert.are.equal(dtype, got.dtype, where)
  assert.are.same(shape, {got.shape:unpack()}, where)
  local values, scale = numbers(text)
  local flat = got:detach():reshape(-1):to("float64"):tolist()
  for i, want in ipairs(values) do
    local at = TOLERANCE[dtype] or 0
    if not same(flat[i], want, at > 0 and scale or 0, at) then
      error(("%s: element %d is %.17g, PyTorch has %.17g"):format(where, i - 1, flat[i], want), 2)
    end
  end
end

local function run(case, lay)
  local _, call, recipes, expected = unpack(case)
  local inputs = {}
  for i, recipe in ipairs(recipes) do inputs[i] = lay(make(recipe)) end
  local fn = assert(loadstring("local lt, x, y, z = ... return " .. call))
  local results = {fn(lt, unpack(inputs))}
  if type(results[1]) == "table" then results = results[1] end
  for i, want in ipairs(expected) do
    if not (i > 1 and results[i] == nil) then check(("%s (%s), result %d"):format(call, case[3][1][3] or case[3][1][2], i - 1), results[i], want) end
  end
end

local families, order = {}, {}
for _, case in ipairs(cases) do
  if not families[case[1]] then
    families[case[1]] = {}
    order[#order + 1] = case[1]
  end
  table.insert(families[case[1]], case)
end

describe("agrees with PyTorch in every dtype and layout:", function()
  for _, name in ipairs(order) do
    for layout, lay in pairs(name == "view" and {contiguous = layouts.contiguous} or layouts) do -- a view of other strides may be refused
      it(name .. ", " .. layout, function()
        local wrong = {}
        for _, case in ipairs(families[name]) do
          local ok, message = pcall(run, case, lay)
          if not ok then wrong[#wrong + 1] = case[2] .. " -> " .. tostring(type(message) == "table" and message.message or message) end
        end
        if #wrong > 0 then error(#wrong .. " of " .. #families[name] .. " differ:\n" .. table.concat(wrong, "\n")) end
      end)
    end
  end
end)
