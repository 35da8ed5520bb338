--- Every layer, from its declaration: it agrees with PyTorch in text, results, gradients and buffers over the cases of fixtures/layers, and each of its
--- arguments stands in a case where it matters.

local lt = require("lunette")
local catalog = require("lunette.catalog")
local derive = require("lunette.derive")
local cases = require("spec.nn.cases")
local nn = lt.nn

local all = cases.all()

-- name -> declaration of every layer.
local declared, names = {}, {}
for name, thing in pairs(nn) do
  local entry = type(thing) == "table" and catalog.of(thing)
  if entry and entry.declaration then
    declared[name] = entry.declaration
    names[#names + 1] = name
  end
end
table.sort(names)

-- Agreement --------------------------------------------------------------------------------------------------------------------------------

local function same(what, want, t)
  if not want then return t == nil or not t or error(what .. " is there, PyTorch has none") end
  assert(t ~= nil and t, what .. " is missing")
  assert.are.same(want.shape, {t.shape:unpack()}, what)
  local numbers = #want.shape == 0 and {t:item()} or t:detach():reshape(-1):to("float64"):tolist()
  for i, number in ipairs(want.numbers) do
    local got = numbers[i]
    if math.abs(got - number) > 2e-5 * (1 + math.abs(number)) then error(("%s, element %d: %.8g, expected %.8g"):format(what, i - 1, got, number), 2) end
  end
end

local function same_all(what, want, list)
  for i, tensor in ipairs(want) do same(("%s %d"):format(what, i), tensor, list[i]) end
end

local function check(case)
  local module = cases.make(case)
  local results, inputs = cases.run(case, module)
  assert.are.equal(case.expected.text, tostring(module))
  same_all("result", case.expected.results, results)
  assert.are.equal(#case.expected.results, #results)
  local gradients = {inputs[1].requires_grad and inputs[1].grad or nil}
  same_all("gradient of input", case.expected.inputs, gradients)
  local parameters = {}
  for i, p in ipairs(module:parameters()) do parameters[i] = p.grad or false end
  same_all("gradient of parameter", case.expected.parameters, parameters)
  same_all("buffer", case.expected.buffers, module:buffers())
end

describe("PyTorch's text, results, gradients and buffers:", function()
  for _, case in ipairs(all) do
    if not case.own then it(case.line, function() check(case) end) end
  end
end)

-- Arguments ----------------------------------------------------------------------------------------------------------------------------------

-- What can be seen of a module and a run of it, as text.
local function seen(case, values, options)
  local ok, module = pcall(cases.make, case, values, options)
  if not ok then return "refused" end
  local lines = {tostring(module)}
  local ran, results, _, handed = pcall(cases.run, case, module)
  for _, list in ipairs(ran and {results, handed} or {}) do
    for _, t in ipairs(list) do lines[#lines + 1] = tostring(t) end
  end
  for _, list in ipairs{module:parameters(), module:buffers()} do
    for _, t in ipairs(list) do lines[#lines + 1] = tostring(t) .. t.dtype .. tostring(t.requires_grad) .. tostring(t.grad) end
  end
  return table.concat(lines, "\n")
end

-- The case's arguments without the one called `name`, nil when the case does not give it.
local function without(case, declaration, name)
  local values, options = {}, {}
  for i, v in ipairs(case.values) do options[declaration.names[i]] = v end
  for key, v in pairs(case.options) do options[key] = v end
  if options[name] == nil then return nil end
  options[name] = nil
  return values, options
end

local function matters(declaration, class, name)
  for _, case in ipairs(all) do
    if case.class == class then
      local values, options = without(case, declaration, name)
      if values and seen(case) ~= seen(case, values, options) then return true end
    end
  end
  return false
end

local by_specs = {
  device = true, dtype = true, -- of every layer alike: below
  init = true, -- a starting value: activation_spec.lua
  _weight = true, -- starting values: embedding_spec.lua
  distance_function = true, -- a function: loss_spec.lua
}

describe("every argument is set in a case where it matters:", function()
  for _, name in ipairs(names) do
    it(name, function()
      local idle = {}
      for _, argument in ipairs(declared[name].names) do
        if not by_specs[argument] and not matters(declared[name], name, argument) then idle[#idle + 1] = argument end
      end
      assert.are.same({}, idle)
    end)
  end
end)

-- The first case of a class.
local function first_case(name)
  for _, case in ipairs(all) do
    if case.class == name then return case end
  end
end

describe("of every layer", function()
  for _, name in ipairs(names) do
    local declaration = declared[name]

    it(name .. " there is a sentence, a case, and a class that says so", function()
      assert.matches("^.+%.$", declaration.doc)
      assert(first_case(name), "fixtures/layers has no case of " .. name)
      assert.are.equal("class " .. name, tostring(nn[name]))
    end)

    it(name .. " takes its arguments by name, and forward its inputs", function()
      local case = first_case(name)
      local _, options = without(case, declaration, declaration.names[1])
      options = options or {}
      for i, v in ipairs(case.values) do options[declaration.names[i]] = v end
      local module = cases.make(case, {}, options)
      module:eval()
      local inputs, given = {}, {}
      for i, param in ipairs(derive.params(declaration.input)) do inputs[i] = param.name end
      local results, _, handed = cases.run(case, module)
      for i, t in ipairs(handed) do given[inputs[i]] = t end
      assert.is_true(lt.equal(results[1]:detach(), (module(given)):detach()))
    end)

    it(name .. " names itself when it or its forward is called wrongly", function()
      local module = cases.make(first_case(name))
      local many = {} -- more than any forward takes
      for i = 1, 16 do many[i] = lt.ones(1) end
      for _, wrong in ipairs{{}, many, {{bogus = 1}}} do
        local ok, message = pcall(function() return (module(unpack(wrong))) end)
        assert.is_false(ok)
        assert.matches(name .. "[: ]", message)
      end
      if name ~= "Identity" then
        local ok, message = pcall(function() return nn[name]{bogus = 1} end)
        assert.is_false(ok)
        assert.matches(name .. " has no argument 'bogus'", message)
      end
      local ok, message = pcall(function() return module.forward(lt.ones(1)) end)
      assert.is_false(ok)
      assert.matches("forward is a method, called with a colon", message)
    end)

    if nn[name].__declaration().signature:find("dtype", 1, true) then
      it(name .. " makes its tensors in the dtype and on the device that are named", function()
        local case = first_case(name)
        local options = {dtype = "float64", device = lt.get_default_device()}
        for key, v in pairs(case.options) do options[key] = v end
        local module = cases.make(case, case.values, options)
        for _, list in ipairs{module:parameters(), module:buffers()} do
          for _, t in ipairs(list) do
            assert.is_true(t.dtype == "float64" or t.dtype == "int64")
            assert.are.equal(lt.get_default_device(), t.device)
          end
        end
        options.device = "cuda:77"
        assert.has_error(function() cases.make(case, case.values, options) end)
        assert.has_error(function() cases.make(case, case.values, {dtype = "int64"}) end)
      end)
    end
  end
end)

describe("layers that may work in place", function()
  for _, name in ipairs(names) do
    if declared[name].signature:find("inplace", 1, true) then
      it(name .. " return their input, changed, and its gradient is right", function()
        local found = false
        for _, case in ipairs(all) do
          local module = case.class == name and cases.make(case)
          if module and module.inplace and not case.eval then
            found = true
            local results, _, handed = cases.run(case, module)
            assert.is_true(results[1] == handed[1])
          elseif module and not module.inplace then
            local results, inputs, handed = cases.run(case, module)
            assert.is_true(results[1] ~= handed[1] or case.eval)
            assert.is_true(lt.equal(inputs[1]:detach(), handed[1]:detach()))
          end
        end
        assert.is_true(found)
      end)
    end
  end
end)
