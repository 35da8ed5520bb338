--- What an optimizer keeps between steps: it is found anew at every step, checked when it is loaded, and copied by deepcopy.

local lt = require("lunette")
local nn, optim = lt.nn, lt.optim

local function refused(part, fn, ...)
  local ok, message = pcall(fn, ...)
  assert.is_false(ok)
  assert.is_truthy(message:find(part, 1, true), message)
end

--- A parameter of ones with a gradient of ones.
local function parameter(...)
  local p = nn.Parameter(lt.ones(...))
  p.grad = lt.ones(...)
  return p
end

local makers = {
  SGD = function(params) return optim.SGD(params, {lr = 0.5, momentum = 0.5}) end,
  Adam = function(params) return optim.Adam(params, {lr = 0.5}) end,
  AdamW = function(params) return optim.AdamW(params, {lr = 0.5, amsgrad = true}) end,
}

describe("between steps", function()
  for name, make in pairs(makers) do
    it(name .. "'s state may be dropped: it begins anew", function()
      local p, q = parameter(4), parameter(4)
      local opt, fresh = make{p}, make{q}
      opt:step()
      opt:step()
      opt.state = {}
      lt.gc()
      local others = {} -- tensors in the memory that the state had
      for i = 1, 50 do others[i] = lt.full({4}, 5) end
      p.data:fill_(1)
      opt:step()
      fresh:step()
      assert.is_true(lt.equal(p.data, q.data))
      for i = 1, 50 do assert.are.same({5, 5, 5, 5}, others[i]:tolist()) end
    end)

    it(name .. "'s parameters may be replaced", function()
      local p, q = parameter(4), parameter(4)
      local opt = make{p}
      opt:step()
      local stood = p:tolist()
      opt.param_groups[1].params[1] = q
      p.grad = nil
      p = nil -- luacheck: ignore
      lt.gc()
      local other = lt.full({4}, 5)
      opt:step()
      assert.are.same(stood, q:tolist())
      assert.are.same({5, 5, 5, 5}, other:tolist())
      opt:zero_grad()
      assert.are.same({0, 0, 0, 0}, q.grad:tolist())
    end)

    it(name .. "'s state may be replaced by tensors that fit", function()
      local p = parameter(2)
      local opt = make{p}
      opt:step()
      local state = opt.state[p.id]
      local key = state.momentum_buffer and "momentum_buffer" or "exp_avg"
      local mine = lt.zeros(2)
      state[key] = mine
      opt:step()
      assert.is_true(mine:abs():sum():item() > 0)
      state[key] = lt.zeros(3)
      refused(("%s: the state of a parameter does not match it: shape {3} and {2}"):format(name), opt.step, opt)
      state[key] = lt.zeros(2, {dtype = "float64"})
      refused("dtype float64 and float32", opt.step, opt)
      state[key] = lt.zeros(4):reshape(2, 2)[":, 0"]
      refused("must be contiguous (shape {2}, stride {2})", opt.step, opt)
      state[key] = 7
      refused(("%s: %s in the state of a parameter must be a tensor, not 7"):format(name, key), opt.step, opt)
      state[key] = lt.scope(function()
        mine = lt.zeros(2)
      end) or mine
      refused("released at the end of its lt.scope", opt.step, opt)
    end)

    it(name .. " is left alone when it steps on data of another shape", function()
      local p, q = parameter(4), parameter(8)
      local opt = make{q, p}
      opt:step()
      local stood = q:tolist()
      p.data = lt.ones(2)
      refused(("%s: a parameter of shape {2} has a gradient of shape {4}"):format(name), opt.step, opt)
      p.grad = lt.ones(2)
      refused("shape {4} and {2}", opt.step, opt)
      assert.are.same(stood, q:tolist()) -- all are checked before the first is changed
    end)

    it(name .. " refuses a parameter that is none", function()
      local opt = make{parameter(1), parameter(1)}
      opt.param_groups[1].params[2] = 3
      refused(("%s: parameter 2 must be a tensor, not 3"):format(name), opt.step, opt)
      refused(("%s: parameter 2 must be a tensor, not 3"):format(name), opt.zero_grad, opt)
      opt.param_groups[1].params[2] = nil
      opt.state = 3
      refused(("%s: state must be a table"):format(name), opt.step, opt)
      opt.state = {[opt.param_groups[1].params[1].id] = 3}
      refused(("%s: the state of a parameter must be a table, not 3"):format(name), opt.step, opt)
    end)

    it(name .. " may step within its own step, in a finalizer", function()
      local p = parameter(4)
      local opt = make{p}
      local inner, most = 0, 20
      local function drop()
        getmetatable(newproxy(true)).__gc = function()
          inner = inner + 1
          opt:step()
          opt:zero_grad()
          p.grad:fill_(1)
          if inner < most then drop() end
        end
      end
      drop()
      for _ = 1, 200 do
        opt:step()
        collectgarbage("step", 10)
      end
      most = 0 -- none is left behind for the next spec
      collectgarbage()
      assert.is_true(inner > 0)
      assert.is_true(p:isfinite():all():item())
    end)
  end

  it("a finalizer may step while the program ends", function()
    local status, output = require("spec.child").run([[
      local p = lt.nn.Parameter(lt.ones(4))
      p.grad = lt.ones(4)
      local opt = lt.optim.SGD({p}, {lr = 0.1, momentum = 0.9})
      opt:step()
      for _ = 1, 9 do getmetatable(newproxy(true)).__gc = function() opt:step() end end
      print("ends")
    ]])
    assert.are.equal("ends", output:match("%a+"))
    assert.are.equal(0, status, output)
  end)

  it("the array of parameters that was given is no longer looked at", function()
    local list = {parameter(1)}
    local opt = optim.SGD(list, {lr = 0.5})
    list[1], list[2] = nil, 3
    opt:step()
    assert.are.equal(0.5, opt.param_groups[1].params[1]:item())
  end)

  it("Adam's count of steps must be one", function()
    local p = parameter(1)
    local opt = optim.Adam({p})
    opt:step()
    opt.state[p.id].step = "one"
    refused('Adam: step in the state of a parameter must be a number from 0, not the string "one"', opt.step, opt)
  end)
end)

describe("a parameter group", function()
  it("refuses names that no option has", function()
    local opt = optim.SGD({parameter(1)}, {lr = 0.1})
    refused("SGD: a group has no option 'Lr'; did you mean 'lr'?", function() opt.param_groups[1].Lr = 0.1 end)
    refused("SGD: a group has no option 'weight_decy'; did you mean 'weight_decay'?", function() opt.param_groups[1].weight_decy = 0.1 end)
    opt.param_groups[1].initial_lr = 3
    assert.are.equal(3, opt.param_groups[1].initial_lr)
  end)

  it("is checked again at each step", function()
    local opt = optim.SGD({parameter(1)}, {lr = 0.1})
    opt.param_groups[1].lr = "much"
    refused([[SGD: argument 'lr' must be a number of at least 0, got the string "much"]], opt.step, opt)
    opt.param_groups[1].lr = 0.1
    opt.param_groups[1].maximize = 1
    refused("SGD: argument 'maximize' must be true or false, got 1", opt.step, opt)
    opt.param_groups[1].maximize, opt.param_groups[1].lr = false, nil
    refused("SGD: lr of a group is nil", opt.step, opt)
    opt = optim.Adam({parameter(1)})
    opt.param_groups[1].betas = 0.9
    refused("Adam: argument 'betas' must be an array of 2 numbers between 0 and 1, got 0.9", opt.step, opt)
  end)

  it("shares no parameter with another one", function()
    local p = parameter(1)
    local opt = optim.SGD({p}, {lr = 0.1})
    refused("SGD: a parameter of shape {1} stands in more than one place", opt.add_param_group, opt, {params = {p}})
    assert.are.equal(1, #opt.param_groups)
    opt.param_groups[1].params[1] = parameter(1)
    opt:add_param_group{params = {p}}
    assert.are.equal(2, #opt.param_groups)
  end)
end)

describe("methods of an optimizer", function()
  it("say that they take a colon", function()
    local opt = optim.SGD({parameter(1)}, {lr = 0.1})
    for _, name in ipairs{"step", "zero_grad", "state_dict", "load_state_dict", "add_param_group"} do
      refused(("%s is a method of Optimizer, called with a colon: optimizer:%s(...)"):format(name, name), function() opt[name]() end)
    end
  end)
end)

describe("load_state_dict", function()
  local function adam() return optim.Adam({parameter(2)}) end

  local function changed(change)
    local source = adam()
    source:step()
    local dict = lt.deepcopy(source:state_dict())
    change(dict)
    return dict
  end

  local wrong = {
    {"lacks 'exp_avg'; was it another optimizer's?", function(d) d.state[0].exp_avg = nil end},
    {"lacks 'step'", function(d) d.state[0].step = nil end},
    {"exp_avg in the state dict must be a tensor, not 3", function(d) d.state[0].exp_avg = 3 end},
    {"exp_avg_sq in the state dict has shape {3}, its parameter {2}", function(d) d.state[0].exp_avg_sq = lt.ones(3) end},
    {"step in the state dict must be a whole number from 0, not -1", function(d) d.state[0].step = -1 end},
    {"has 'momentum_buffer', which this optimizer does not keep", function(d) d.state[0].momentum_buffer = lt.ones(2) end},
    {"the state of parameter 0 in the state dict must be a table, not 3", function(d) d.state[0] = 3 end},
    {"a group has no option 'beta'; did you mean 'betas'?", function(d) d.param_groups[1].beta = 0.9 end},
    {"argument 'lr' must be a number of at least 0, got -1", function(d) d.param_groups[1].lr = -1 end},
    {"param_groups[1] of the state dict must be a table with params", function(d) d.param_groups[1] = 3 end},
    {"param_groups[1] of the state dict must be a table with params", function(d) d.param_groups[1].params = nil end},
    {"param_groups[1] of the state dict has 2 parameters, the optimizer's 1", function(d) d.param_groups[1].params = {0, 1} end},
    {"has 2 parameter groups, the optimizer 1", function(d) d.param_groups[2] = d.param_groups[1] end},
  }

  for _, case in ipairs(wrong) do
    it("refuses: " .. case[1], function()
      local opt = adam()
      opt:step()
      local state, lr = opt.state[opt.param_groups[1].params[1].id], opt.param_groups[1].lr
      refused("Adam: ", opt.load_state_dict, opt, changed(case[2]))
      refused(case[1], opt.load_state_dict, opt, changed(case[2]))
      assert.are.equal(lr, opt.param_groups[1].lr)
      assert.are.equal(state, opt.state[opt.param_groups[1].params[1].id])
    end)
  end

  it("refuses another optimizer's", function()
    local sgd = makers.SGD{parameter(2)}
    sgd:step()
    refused("Adam: a group has no option", function() adam():load_state_dict(sgd:state_dict()) end)
  end)

  it("copies: the two go on apart", function()
    local a, b = adam(), adam()
    a:step()
    b:load_state_dict(a:state_dict())
    local p, q = a.param_groups[1].params[1], b.param_groups[1].params[1]
    assert.is_false(a.state[p.id].exp_avg == b.state[q.id].exp_avg)
    assert.are_not.equal(a.param_groups[1].betas, b.param_groups[1].betas)
    a:step()
    assert.are.equal(2, a.state[p.id].step)
    assert.are.equal(1, b.state[q.id].step)
  end)

  it("lays state out as its parameter's, in its dtype", function()
    local source = optim.Adam({parameter(2, 3)})
    source:step()
    local dict = source:state_dict()
    dict.state[0].exp_avg = dict.state[0].exp_avg:t():contiguous():t()
    local p = nn.Parameter(lt.ones(2, 3, {dtype = "float64"}))
    p.grad = lt.ones(2, 3, {dtype = "float64"})
    local opt = optim.Adam({p})
    opt:load_state_dict(dict)
    opt:step()
    assert.are.equal("float64", opt.state[p.id].exp_avg.dtype)
  end)
end)

describe("deepcopy of an optimizer", function()
  it("is one of the copied parameters, with its own state", function()
    local net = nn.Linear(2, 1)
    local opt = optim.Adam(net:parameters(), {lr = 0.1})
    local function step(m, o)
      o:zero_grad()
      m(lt.ones(1, 2)):sum():backward()
      o:step()
    end
    step(net, opt)
    local copy = lt.deepcopy{net = net, opt = opt, schedule = optim.lr_scheduler.StepLR(opt, 1)}
    assert.is_true(lt.isinstance(copy.opt, optim.Adam))
    assert.is_true(copy.opt.param_groups[1].params[1] == copy.net.weight)
    assert.are.equal(copy.opt, copy.schedule.optimizer)
    local before = net.weight:tolist()
    step(copy.net, copy.opt)
    assert.are.same(before, net.weight:tolist())
    step(net, opt)
    assert.is_true(lt.equal(net.weight, copy.net.weight)) -- the state was copied too
    assert.are.equal(2, opt.state[net.weight.id].step)
    copy.opt.param_groups[1].lr = 5
    assert.are.equal(0.1, opt.param_groups[1].lr)
    refused("a group has no option 'Lr'", function() copy.opt.param_groups[1].Lr = 1 end)
  end)

  it("lives on after the scope it was made in", function()
    local opt = makers.SGD{parameter(2)}
    opt:step()
    local copy
    lt.scope(function()
      copy = lt.deepcopy(opt)
      return nil
    end)
    copy:step()
    assert.are.same({-0.25, -0.25}, copy.param_groups[1].params[1]:tolist())
  end)
end)
