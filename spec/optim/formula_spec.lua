--- Steps against the formulas of the optimizers, element by element in plain Lua: more elements than a thread takes at once, gradients that grow
--- and shrink, every option.

local lt = require("lunette")
local optim = lt.optim

local N, STEPS = 20011, 6

--- The gradient of element i in step k: it changes sign, and falls to a tenth from one step to the next.
local function gradient(i, k) return math.sin(i * 0.37 + k) * 10 ^ (1 - k % 3) end

local function start(i) return math.cos(i * 0.11) end

local rules = {}

function rules.SGD(o, k, p, g, s)
  g = (o.maximize and -g or g) + (o.weight_decay or 0) * p
  if o.momentum then
    s.m = k == 1 and g or o.momentum * s.m + (1 - (o.dampening or 0)) * g
    g = o.nesterov and g + o.momentum * s.m or s.m
  end
  return p - o.lr * g
end

local function adam(o, k, p, g, s, decoupled)
  local decay = o.weight_decay or decoupled and 1e-2 or 0
  local betas, eps = o.betas or {0.9, 0.999}, o.eps or 1e-8
  g = o.maximize and -g or g
  if decoupled then p = p * (1 - o.lr * decay) else g = g + decay * p end
  s.m = betas[1] * (s.m or 0) + (1 - betas[1]) * g
  s.v = betas[2] * (s.v or 0) + (1 - betas[2]) * g * g
  s.top = math.max(s.top or 0, s.v)
  local mean, square = s.m / (1 - betas[1] ^ k), (o.amsgrad and s.top or s.v) / (1 - betas[2] ^ k)
  return p - o.lr * mean / (math.sqrt(square) + eps)
end

function rules.Adam(...) return adam(...) end

function rules.AdamW(o, k, p, g, s) return adam(o, k, p, g, s, true) end

--- Where element i stands after all steps.
local function expected(name, options, i)
  local p, state = start(i), {}
  for k = 1, STEPS do p = rules[name](options, k, p, gradient(i, k), state) end
  return p
end

local function trained(name, options, dtype)
  local values = {}
  for i = 1, N do values[i] = start(i) end
  local p = lt.tensor(values, {dtype = dtype, requires_grad = true})
  local opt = optim[name]({p}, options)
  for k = 1, STEPS do
    for i = 1, N do values[i] = gradient(i, k) end
    p.grad = lt.tensor(values, {dtype = dtype})
    opt:step()
  end
  return p:detach():tolist()
end

local cases = {
  SGD = {
    {lr = 0.1}, {lr = 0.1, weight_decay = 0.3}, {lr = 0.1, momentum = 0.9}, {lr = 0.1, momentum = 0.9, dampening = 0.4, weight_decay = 0.1},
    {lr = 0.1, momentum = 0.5, nesterov = true}, {lr = 0.1, momentum = 0.9, maximize = true},
  },
  Adam = {
    {lr = 0.1}, {lr = 0.1, betas = {0.5, 0.6}, eps = 1e-3}, {lr = 0.1, amsgrad = true, betas = {0.5, 0.6}}, {lr = 0.1, weight_decay = 0.3, maximize = true},
  },
  AdamW = {{lr = 0.1}, {lr = 0.1, weight_decay = 0.5, amsgrad = true, betas = {0.5, 0.6}}, {lr = 0.1, maximize = true}},
}

local function text(options)
  local words = {}
  for name, value in pairs(options) do words[#words + 1] = name .. " = " .. (type(value) == "table" and table.concat(value, " ") or tostring(value)) end
  table.sort(words)
  return table.concat(words, ", ")
end

for name, list in pairs(cases) do
  describe(name .. " moves each element as its formula says:", function()
    for i, options in ipairs(list) do
      local dtype, tolerance = i % 2 == 0 and "float32" or "float64", i % 2 == 0 and 2e-5 or 1e-12
      it(("%s, %s"):format(text(options), dtype), function()
        local got = trained(name, options, dtype)
        for e = 1, N do
          local want = expected(name, options, e)
          local near = math.abs(got[e] - want) <= tolerance * (1 + math.abs(want))
          if not near then error(("element %d is %.9g, expected %.9g"):format(e, got[e], want)) end
        end
      end)
    end
  end)
end
