--- Functions that make tensors: each by position, with options and by name; what they refuse, and whom errors name.

local lt = require("lunette")

-- The names that PyTorch gives their arguments.
local calls = {
  {"lt.zeros{size = {2, 3}, dtype = 'int64'}", "lt.zeros(2, 3, {dtype = 'int64'})"},
  {"lt.ones{size = 2}", "lt.ones({2})"},
  {"lt.zeros(lt.ones(2, 1).shape)", "lt.zeros(2, 1)"},
  {"lt.zeros{dtype = 'bool'}", "lt.zeros({}, {dtype = 'bool'})"},
  {"lt.full{size = {2}, fill_value = 3}", "lt.full({2}, 3)"},
  {"lt.full{size = 2, fill_value = true, dtype = 'bool'}", "lt.ones(2, {dtype = 'bool'})"},
  {"lt.full_like{input = lt.ones(2):int(), fill_value = 3}", "lt.full({2}, 3, {dtype = 'int32'})"},
  {"lt.ones_like{input = lt.ones(2), dtype = 'uint8'}", "lt.ones(2, {dtype = 'uint8'})"},
  {"lt.arange{['end'] = 3}", "lt.arange(3)"},
  {"lt.arange{start = 1, ['end'] = 2, step = 0.5}", "lt.arange(1, 2, 0.5)"},
  {"lt.arange(1, {['end'] = 3})", "lt.arange(1, 3)"},
  {"lt.arange(3, {dtype = 'int64'})", "lt.LongTensor{0, 1, 2}"},
  {"lt.linspace{start = 0, ['end'] = 1, steps = 3}", "lt.tensor{0, 0.5, 1}"},
  {"lt.eye{n = 2, m = 1}", "lt.tensor{{1}, {0}}"},
  {"lt.tensor{data = {1, 2}, dtype = 'int8'}", "lt.CharTensor{1, 2}"},
  {"lt.tensor(lt.ones(2), {dtype = 'int8'})", "lt.CharTensor{1, 1}"},
  {"lt.randint{high = 1, size = 2}", "lt.LongTensor{0, 0}"},
  {"lt.randint_like(lt.ones(2), 4, 5)", "lt.tensor{4, 4}"},
  {"lt.randperm{n = 1, dtype = 'float32'}", "lt.tensor{0}"},
  {"lt.ones(1):int():new_zeros(2)", "lt.IntTensor{0, 0}"},
  {"lt.ones(1):int():new_ones{size = {2}, dtype = 'float32'}", "lt.ones(2)"},
  {"lt.ones(1):int():new_full({2}, 7)", "lt.IntTensor{7, 7}"},
  {"lt.ones(1):int():new_full{size = 2, fill_value = 7, dtype = 'float32'}", "lt.tensor{7, 7}"},
  {"lt.ones(1):int():new_tensor({1, 2})", "lt.IntTensor{1, 2}"},
  {"lt.ones(1):int():new_tensor{data = 1, dtype = 'float32'}", "lt.tensor(1)"},
}

local refusals = {
  {"lt:zeros(3)", "zeros is a function, called with a dot: lt.zeros(...)"},
  {"lt:zeros()", "zeros is a function, called with a dot: lt.zeros(...)"},
  {"lt:arange(3)", "arange is a function, called with a dot: lt.arange(...)"},
  {"lt:tensor({1})", "tensor is a function, called with a dot: lt.tensor(...)"},
  {"lt.tensor({1, nil, 3})", "tensor: "},
  {"lt.tensor({{1, 2}, {1, nil, 3}})", "tensor: "},
  {"lt.tensor()", "tensor: argument 'data' is missing"},
  {"lt.zeros(2, -1)", "zeros: argument 'size' must be a whole number of at least 0 or an array of them, got the array {2, -1}"},
  {"lt.zeros(1.5)", "zeros: argument 'size' must be"},
  {"lt.zeros(2, {dtyp = 'int8'})", "zeros has no argument 'dtyp'; did you mean 'dtype'?"},
  {"lt.ones(2, {generator = lt.Generator()})", "ones has no argument 'generator'"},
  {"lt.full({2}, 3, {bogus = 1})", "full has no argument 'bogus'"},
  {"lt.arange('a')", "arange: argument 'end' must be a number"},
  {"lt.arange(0, 1, 2, 3)", "arange takes at most 3 arguments (start, end, step)"},
  {"lt.randint(5, 5, {2})", "randint: from 5 must be below to 5"},
  {"lt.randint(5, {2}, {bogus = 1})", "randint has no argument 'bogus'"},
  {"lt.ones(2):new_zeros(2, {bogus = 1})", "new_zeros has no argument 'bogus'"},
  {"lt.LongTensor({1}, 2)", "LongTensor takes at most 1 argument (data)"},
}

local function run(text) return assert(loadstring("local lt = ...\nlocal result = " .. text .. "\nreturn result", "=wrong"))(lt) end

describe("a tensor is made by", function()
  for _, call in ipairs(calls) do
    it(call[1], function()
      local made, wanted = run(call[1]), run(call[2])
      assert.are.equal(wanted.dtype, made.dtype)
      assert.is_true(lt.equal(wanted, made))
    end)
  end

  it("what wants a gradient, on request alone", function()
    assert.is_true(lt.zeros{size = 2, requires_grad = true}.requires_grad)
    assert.is_true(lt.arange(2, {requires_grad = true}).requires_grad)
    assert.is_false(lt.ones(2).requires_grad)
  end)
end)

describe("a tensor is not made by", function()
  for _, case in ipairs(refusals) do
    it(case[1], function()
      local ok, message = pcall(run, case[1])
      assert.is_false(ok)
      assert.are.equal("wrong:2: " .. case[2], message:sub(1, 9 + #case[2]))
    end)
  end
end)
