--- What is composed of operators, in a text of the table, takes no more memory than the same operators called by a careful script: one that lets go of
--- every value after its last use.

local lt = require("lunette")
local C = require("lunette.ffi").C

local ROWS, COLUMNS = 500, 400
local BYTES = 4 * ROWS * COLUMNS
local SLACK = 0.1 -- of the input: vectors of a number a row, and numbers

local function collect()
  collectgarbage()
  collectgarbage()
end

--- The most memory in use while fn runs, beyond what was, in sizes of the input.
local function peak(fn)
  collect()
  local counters = C.ln_memory_counters()
  local before = tonumber(counters.live)
  counters.peak = counters.live
  local result = fn()
  local most = (tonumber(counters.peak) - before) / BYTES
  return most, result
end

--- Runs steps over a table of values, collecting garbage after each; the last value is the result.
local function carefully(values, steps)
  return peak(function()
    for _, step in ipairs(steps) do
      step(values)
      collect()
    end
    return values.y
  end)
end

local function input() return lt.rand(ROWS, COLUMNS) + 0.5 end

local forward = {
  var = {function(x) return lt.var(x, 1) end, {
    function(v) v.d = v.x - v.x:mean(1, true) end, function(v) v.s, v.d = v.d:square(), nil end, function(v) v.y, v.s = v.s:sum(1) / (COLUMNS - 1), nil end,
  }},
  norm = {function(x) return lt.norm(x, 3, 1) end, {
    function(v) v.a = v.x:abs() end, function(v) v.p, v.a = v.a ^ 3, nil end, function(v) v.y, v.p = v.p:sum(1) ^ (1 / 3), nil end,
  }},
  logsumexp = {function(x) return lt.logsumexp(x, 1) end, {
    function(v) v.top = v.x:amax(1, true) end, function(v) v.d = v.x - v.top end, function(v) v.e, v.d = v.d:exp(), nil end,
    function(v) v.y, v.e = (v.e:sum(1, true):log() + v.top):sum(1), nil end,
  }},
  cosine_similarity = {function(x) return lt.cosine_similarity(x, x) end, {
    function(v) v.p = v.x * v.x end, function(v) v.s = v.x:square() end, function(v) v.l, v.s = v.s:sum(1, true):sqrt(), nil end,
    function(v) v.q, v.p = v.p / (v.l * v.l), nil end, function(v) v.y, v.q = v.q:sum(1), nil end,
  }},
}

local gradients = {
  var = {function(x) return lt.var(x, 1) end, {
    function(v) v.d = v.x - v.x:mean(1, true) end, function(v) v.y, v.d = v.d * (v.g * (2 / (COLUMNS - 1))):unsqueeze(1), nil end,
  }},
  logsumexp = {function(x) return lt.logsumexp(x, 1) end, {
    function(v) v.s = lt.logsumexp(v.x, 1, true) end, function(v) v.d, v.s = v.x - v.s, nil end, function(v) v.e, v.d = v.d:exp(), nil end,
    function(v) v.y, v.e = v.e * v.g:unsqueeze(1), nil end,
  }},
  norm = {function(x) return lt.norm(x, 2, 1) end, {
    function(v) v.s = lt.norm(v.x, 2, 1, true) end, function(v) v.y, v.s = v.x * (v.g:unsqueeze(1) / v.s), nil end,
  }},
  amax = {function(x) return x:amax(1) end, {
    function(v) v.top = v.x:amax(1, true) end, function(v) v.hits, v.top = v.x:eq(v.top):float(), nil end,
    function(v) v.y, v.hits = v.hits * (v.g:unsqueeze(1) / v.hits:sum(1, true)), nil end,
  }},
}

describe("the memory of a composition", function()
  for name, case in pairs(forward) do
    it("forward, of " .. name, function()
      local x = input()
      local careful, want = carefully({x = x}, case[2])
      local most, y = peak(function() return case[1](x) end)
      assert.is_true(y:allclose(want, 1e-4), name)
      assert.is_true(careful > 0.9 and most <= careful + SLACK, ("%s: %.2f times the input, a careful script %.2f"):format(name, most, careful))
    end)
  end

  for name, case in pairs(gradients) do
    it("backward, of " .. name, function()
      local x, g = input(), lt.rand(ROWS)
      local careful, want = carefully({x = x, g = g}, case[2])
      local leaf = x:clone():requires_grad_()
      local y = case[1](leaf)
      local most = peak(function() y:backward(g) end)
      assert.is_true(leaf.grad:allclose(want, 1e-4), name)
      assert.is_true(careful > 0.9 and most <= careful + SLACK, ("%s: %.2f times the input, a careful script %.2f"):format(name, most, careful))
    end)
  end
end)
