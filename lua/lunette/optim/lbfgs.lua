--- L-BFGS (Nocedal, 1980; Liu and Nocedal, 1989), with a line search that meets the strong Wolfe conditions (Nocedal and Wright, 2006, section 3.5).

local arguments = require("lunette.arguments")
local class = require("lunette.class")
local create = require("lunette.create")
local ops = require("lunette.ops")
local modes = require("lunette.autograd.modes")
local Optimizer = require("lunette.optim.optimizer")

local abs, max, min, sqrt, ipairs, type = math.abs, math.max, math.min, math.sqrt, ipairs, type

local LBFGS = Optimizer:subclass("LBFGS")
LBFGS:options("L-BFGS: step(closure) minimizes what the closure returns, with line_search_fn = \"strong_wolfe\" along a line that meets the Wolfe conditions.",
  "lr:number>=0=1, max_iter:int>=1=20, max_eval:int>=1?, tolerance_grad:number=1e-7, tolerance_change:number=1e-9, history_size:int>=1=100, "
  .. "line_search_fn:enum(strong_wolfe)?, *, maximize:bool=false")

function LBFGS:add_param_group(group)
  if self.param_groups[1] then self:refuse("all parameters form one group; it has no options for each group") end
  return Optimizer.add_param_group(self, group)
end

-- All parameters as one vector -----------------------------------------------------------------------------------------------------------

local function flat_gradient(self)
  local group, parts = self.param_groups[1], {}
  for i, p in ipairs(group.params) do
    local g = p.grad
    if g and g.is_sparse then g = g:to_dense() end
    parts[i] = g and g:detach():reshape(-1) or create.zeros_like(p.data):view(-1)
  end
  local g = ops.cat(parts, 0)
  return group.maximize and g:neg() or g
end

-- Moves the parameters by t * direction.
local function move(self, t, direction)
  local from = 0
  for _, p in ipairs(self.param_groups[1].params) do
    local n = p:numel()
    p.data:add_(direction:narrow(0, from, n):view(p.shape), {alpha = t})
    from = from + n
  end
end

local function largest(x) return x:abs():max():item() end
local function dot(a, b) return a:dot(b):item() end

-- Runs the closure, which computes gradients: the loss as it came, as a number to be minimized, and the gradient.
local function evaluate(self, closure)
  local loss = modes.enable_grad(closure)
  local value = type(loss) == "number" and loss or arguments.is_tensor(loss) and loss:numel() == 1 and loss:item()
  if not value then self:refuse("the closure must return the loss, a number or a tensor of one element, not %s", arguments.describe(loss)) end
  return loss, self.param_groups[1].maximize and -value or value, flat_gradient(self)
end

-- The line search ------------------------------------------------------------------------------------------------------------------------
-- A point of the line: t, the loss f there, the gradient g, and the slope along the line.

-- Where the cubic through two points is least, between low and high.
local function cubic_minimum(a, b, low, high)
  if b.t < a.t then a, b = b, a end
  low, high = low or a.t, high or b.t
  local d1 = a.slope + b.slope - 3 * (a.f - b.f) / (a.t - b.t)
  local square = d1 * d1 - a.slope * b.slope
  if square < 0 or square ~= square then return (low + high) / 2 end
  local d2 = sqrt(square)
  return min(max(b.t - (b.t - a.t) * ((b.slope + d2 - d1) / (b.slope - a.slope + 2 * d2)), low), high)
end

local SUFFICIENT, CURVATURE = 1e-4, 0.9

-- Does the loss fall too little at a point, for the slope at the start?
local function falls_short(point, start) return point.f > start.f + SUFFICIENT * point.t * start.slope end
local function is_flat(point, start) return abs(point.slope) <= -CURVATURE * start.slope end

-- Goes on along the line until a point is good (returned as both ends) or two points have a good one between them. Also how often it went on.
local function bracket(at, start, t, tries)
  local before, point, n = start, at(t), 0
  while n < tries do
    if falls_short(point, start) or n > 1 and point.f >= before.f then return before, point, n end
    if is_flat(point, start) then return point, point, n end
    if point.slope >= 0 then return before, point, n end
    local further = cubic_minimum(before, point, point.t + 0.01 * (point.t - before.t), point.t * 10)
    before, point, n = point, at(further), n + 1
  end
  return start, point, n
end

-- Keeps a step from the ends of the bracket when the one before came too near already.
local function kept_inside(t, low, high, was_near)
  local margin = 0.1 * (high - low)
  if min(high - t, t - low) >= margin then return t, false end
  if was_near or t >= high or t <= low then return abs(t - high) < abs(t - low) and high - margin or low + margin, false end
  return t, true
end

-- A point that meets the strong Wolfe conditions, or the best one found.
local function line_search(self, at, start, t, direction_size, tries)
  local a, b, n = bracket(at, start, t, tries)
  if rawequal(a, b) then return a end
  local low, high = a, b
  if b.f < a.f then low, high = b, a end
  local near = false
  while n < tries and abs(b.t - a.t) * direction_size >= self.param_groups[1].tolerance_change do
    local from, to = min(a.t, b.t), max(a.t, b.t)
    local next_t
    next_t, near = kept_inside(cubic_minimum(a, b), from, to, near)
    local point = at(next_t)
    n = n + 1
    if falls_short(point, start) or point.f >= low.f then
      high = point
      if low.f > high.f then low, high = high, low end
    else
      if is_flat(point, start) then return point end
      if point.slope * (high.t - low.t) >= 0 then high = low end
      low = point
    end
    a, b = low, high
  end
  return low
end

-- The direction --------------------------------------------------------------------------------------------------------------------------

-- Adds the last step and change of the gradient to the history.
local function remember(state, group, gradient)
  local change, step = gradient - state.prev_flat_grad, state.d * state.t
  local curvature = dot(change, step)
  if curvature <= 1e-10 then return end
  if #state.old_dirs == group.history_size then
    for _, name in ipairs{"old_dirs", "old_stps", "ro"} do table.remove(state[name], 1) end
  end
  local n = #state.old_dirs + 1
  state.old_dirs[n], state.old_stps[n], state.ro[n] = change, step, 1 / curvature
  state.H_diag = curvature / dot(change, change)
end

-- The inverse of the Hessian, as the history shows it, times the negative gradient (the two-loop recursion).
local function direction_of(state, gradient)
  local q, alphas = gradient:neg(), {}
  for i = #state.old_dirs, 1, -1 do
    alphas[i] = dot(state.old_stps[i], q) * state.ro[i]
    q:add_(state.old_dirs[i], {alpha = -alphas[i]})
  end
  local r = q * state.H_diag
  for i = 1, #state.old_dirs do r:add_(state.old_stps[i], {alpha = alphas[i] - dot(state.old_dirs[i], r) * state.ro[i]}) end
  return r
end

-- One iteration from `point` ({f, g}): the point it leads to, and how often it evaluated; nil when the direction leads nowhere.
local function iterate(self, state, closure, point, budget, is_last)
  local group, gradient = self.param_groups[1], point.g
  state.n_iter = state.n_iter + 1
  if state.n_iter == 1 then
    state.d, state.old_dirs, state.old_stps, state.ro, state.H_diag = gradient:neg(), {}, {}, {}, 1
    state.t = min(1, 1 / gradient:abs():sum():item()) * group.lr
  else
    remember(state, group, gradient)
    state.d, state.t = direction_of(state, gradient), group.lr
  end
  state.prev_flat_grad, state.prev_loss = gradient:clone(), point.f
  local direction, slope, evaluations = state.d, dot(gradient, state.d), 0
  if slope > -group.tolerance_change then return nil, 0 end

  local function at(t)
    evaluations = evaluations + 1
    local _, f, g = evaluate(self, closure)
    return {t = t, f = f, g = g, slope = dot(g, direction)}
  end
  if group.line_search_fn == nil then
    move(self, state.t, direction)
    return is_last and point or at(state.t), evaluations
  end

  local originals = {}
  for i, p in ipairs(group.params) do originals[i] = p.data:clone() end
  local function at_and_back(t)
    move(self, t, direction)
    local reached = at(t)
    for i, p in ipairs(group.params) do p.data:copy_(originals[i]) end
    return reached
  end
  local start = {t = 0, f = point.f, g = gradient, slope = slope}
  local found = line_search(self, at_and_back, start, state.t, largest(direction), budget)
  state.t = found.t
  move(self, found.t, direction)
  return found, evaluations
end

local function minimize(self, closure)
  local group = self.param_groups[1]
  local state = self:state_of(group.params[1])
  state.func_evals, state.n_iter = (state.func_evals or 0) + 1, state.n_iter or 0
  local most = group.max_eval or math.floor(group.max_iter * 5 / 4)
  local first_loss, f, g = evaluate(self, closure)
  local point, evaluations = {f = f, g = g}, 1
  if largest(g) <= group.tolerance_grad then return first_loss end
  for n = 1, group.max_iter do
    local before = point.f
    local reached, used = iterate(self, state, closure, point, most - evaluations, n == group.max_iter)
    evaluations, state.func_evals = evaluations + used, state.func_evals + used
    if not reached then break end
    point = reached
    if n == group.max_iter or evaluations >= most or largest(point.g) <= group.tolerance_grad then break end
    if largest(state.d * state.t) <= group.tolerance_change or abs(point.f - before) < group.tolerance_change then break end
  end
  return first_loss
end

--- step(closure): up to max_iter iterations. The closure clears the gradients, computes the loss, calls backward and returns the loss; it is
-- called several times. Returns the loss of the first call.
function LBFGS:step(closure)
  class.check_self(self, LBFGS, "step")
  if type(closure) ~= "function" then self:refuse("step takes a function that computes the loss and its gradients, not %s", arguments.describe(closure)) end
  self:check_group(self.param_groups[1])
  self.stepped = true
  return modes.no_grad(function() return minimize(self, closure) end)
end

return LBFGS
