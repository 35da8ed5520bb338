--- Code of the user that calls tensors in the middle of another call changes no argument and no result: finalizers, metamethods of lists, debug hooks.

local lt = require("lunette")
local here = debug.getinfo(1, "S").source:match("^@?(.*)reentry_spec%.lua$")
local child = dofile(here .. "child.lua")

local a, b = lt.tensor{1, 2, 3, 4}, lt.tensor{10, 20, 30, 40}
local matrix, seven = lt.arange(12):view(3, 4), lt.ones(7)

--- Other work of every sort: operands, numbers, lists of numbers and tensors, several results, gradients, creation, reading.
local others = {
  function() return (seven + seven * 3):view(1, 7) end,
  function() return lt.cat({seven, seven, seven}, 0):sum{dim = 0, keepdim = true} end,
  function() return lt.max(lt.zeros(5, 2), 1) end,
  function()
    local w = lt.full({2}, 9, {requires_grad = true})
    w:mul(2):sum():backward()
    return w.grad[1]:item()
  end,
  function() return lt.conv2d(lt.ones(1, 1, 2, 2), lt.ones(1, 1, 1, 1), nil, {1, 1}, {2, 2}):numel() end,
}

local turn = 0
local function disturb()
  turn = turn % #others + 1
  return others[turn]()
end

local leaf = lt.tensor({1, 2, 3, 4}, {requires_grad = true})

local checks = {
  {"operands", function() return a + b, "11 22 33 44" end},
  {"numbers", function() return a * 3, "3 6 9 12" end},
  {"in place", function() return lt.zeros(4):add_(b, {alpha = 2}), "20 40 60 80" end},
  {"several results", function()
    local values, indices = lt.max(matrix, 1)
    return lt.cat({values, indices:float()}, 0), "3 7 11 3 3 3"
  end},
  {"lists of tensors", function() return lt.cat({a, b}, 0), "1 2 3 4 10 20 30 40" end},
  {"lists of numbers", function() return matrix:permute(1, 0):reshape({2, 6})[0], "0 4 8 1 5 9" end},
  {"sizes one by one", function() return matrix:view(2, 6)[1], "6 7 8 9 10 11" end},
  {"optional tensors", function() return lt.linear(a, lt.ones(1, 4)):view(-1), "10" end},
  {"created tensors", function() return lt.full({2, 1}, 5):view(2), "5 5" end},
  {"gradients", function()
    leaf.grad = nil
    leaf:pow(2):sum():backward()
    return leaf.grad, "2 4 6 8"
  end},
  {"elements", function() return lt.tensor{matrix[2][1]:item(), matrix[0][3]:item()}, "9 3" end},
}

local function text(t)
  local list = t:tolist()
  for i, v in ipairs(list) do list[i] = ("%g"):format(v) end
  return table.concat(list, " ")
end

--- Runs every check `rounds` times with `around(fn)`, and counts the wrong results.
local function wrong_results(rounds, around)
  local wrong = {}
  for _, check in ipairs(checks) do
    for _ = 1, rounds do
      local t, expected
      around(function() t, expected = check[2]() end)
      if text(t) ~= expected then wrong[#wrong + 1] = ("%s: %s"):format(check[1], text(t)) end
    end
  end
  return table.concat(wrong, "\n")
end

describe("re-entry", function()
  teardown(function() collectgarbage() end)

  for _, mode in ipairs{"on", "off"} do
    it("by finalizers, the JIT " .. mode, function()
      jit[mode]()
      local runs = 0
      local function doomed()
        getmetatable(newproxy(true)).__gc = function()
          disturb()
          runs = runs + 1
        end
      end
      local pause, speed = collectgarbage("setpause", 50), collectgarbage("setstepmul", 10000)
      collectgarbage()
      local wrong = wrong_results(120, function(fn)
        fn()
        doomed()
      end)
      collectgarbage("setpause", pause)
      collectgarbage("setstepmul", speed)
      jit.on()
      assert.are.equal("", wrong)
      assert.is_true(runs > 100, runs .. " finalizers ran")
    end)
  end

  it("by a debug hook at every instruction", function()
    jit.off()
    jit.flush()
    local inside, runs = false, 0
    local function hook()
      if inside then return end
      inside = true
      disturb()
      runs, inside = runs + 1, false
    end
    local wrong = wrong_results(1, function(fn)
      debug.sethook(hook, "", 1)
      fn()
      debug.sethook()
    end)
    jit.on()
    assert.are.equal("", wrong)
    assert.is_true(runs > 1000, runs .. " hooks ran")
  end)

  it("by a debug hook that raises, as time limits do", function()
    jit.off()
    jit.flush()
    local raised = 0
    for steps = 1, 300 do
      local ok = pcall(function()
        debug.sethook(function()
          debug.sethook()
          error("time is up")
        end, "", steps)
        checks[steps % #checks + 1][2]()
        debug.sethook()
      end)
      debug.sethook()
      if not ok then raised = raised + 1 end
      if steps % 10 == 0 then assert.are.equal("", wrong_results(1, function(fn) fn() end)) end
    end
    jit.on()
    assert.is_true(raised > 50, raised .. " calls were interrupted")
  end)

  -- An array of three whose second entry its metatable gives.
  local function list_that(act)
    return setmetatable({a, nil, b}, {__index = function(_, i)
      act()
      return i == 2 and seven or nil
    end})
  end

  it("by metamethods of a list", function()
    for _ = 1, 100 do assert.are.equal("1 2 3 4 1 1 1 1 1 1 1 10 20 30 40", text(lt.cat(list_that(disturb), 0))) end
  end)

  it("by a coroutine that yields from a metamethod", function()
    for _ = 1, 20 do
      local call = coroutine.wrap(function() return lt.cat(list_that(coroutine.yield), 0) end)
      local result = call()
      while not result do
        assert.are.equal("11 22 33 44", text(a + b))
        assert.are.equal("10 20 30 40 1 2 3 4", text(lt.cat({b, a}, 0)))
        result = call()
      end
      assert.are.equal("1 2 3 4 1 1 1 1 1 1 1 10 20 30 40", text(result))
    end
  end)

  -- Compiled with one type of entry, then met in a finalizer with another: each.lua says why that needs care.
  it("by finalizers that give options, whose loops are compiled", function()
    local status, output = child.run[[
      local function make(i) return lt.full({2}, 1, i % 2 == 0 and {requires_grad = true} or {dtype = "float32"}) end
      for _ = 1, 300 do make(0) end
      collectgarbage("setpause", 50)
      collectgarbage("setstepmul", 10000)
      local runs = 0
      for _ = 1, 2000 do
        getmetatable(newproxy(true)).__gc = function()
          runs = runs + 1
          make(runs)
        end
      end
      print(runs > 1000)
    ]]
    assert.are.equal("0 true\n", status .. " " .. output)
  end)

  it("by loops over tables that may run in a finalizer: none is written with pairs or next", function()
    local found = {}
    local files = io.popen(("find '%s../lua/lunette' -name '*.lua'"):format(here))
    for path in files:lines() do
      local number = 0
      for line in io.lines(path) do
        number = number + 1
        local code = line:gsub("%-%-.*", "")
        if code:find("%f[%w]in pairs%s*[({]") or code:find("%f[%w]in next%s*,") then found[#found + 1] = path .. ":" .. number .. ": " .. line end
      end
    end
    files:close()
    assert.are.equal("", table.concat(found, "\n"))
  end)

  it("keeps arguments that only the call refers to", function()
    local sum = 0
    for i = 1, 3000 do
      sum = sum + lt.add(lt.full({3}, i), lt.full({3}, 1)):sum():item()
      if i % 100 == 0 then collectgarbage() end
    end
    assert.are.equal(3 * (3000 * 3001 / 2 + 3000), sum)
  end)
end)
