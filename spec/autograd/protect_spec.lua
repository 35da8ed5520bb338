--- Errors inside no_grad, enable_grad, scope, anomaly mode and backward: what was changed is changed back, pcall gets the message as it was raised,
--- and who shows a traceback shows where.

local lt = require("lunette")
local child = require("spec.child")

-- name -> text of a function that runs fn inside.
local wrappers = {
  no_grad = "lt.no_grad",
  enable_grad = "lt.enable_grad",
  set_grad_enabled = "function(fn) return lt.set_grad_enabled(false, fn) end",
  scope = "lt.scope",
  detect_anomaly = "lt.autograd.detect_anomaly",
  ["a hook"] = [[function(fn)
    local x = lt.ones(1, {requires_grad = true})
    x:register_hook(function() fn() end);
    (x * 2):sum():backward()
  end]],
  ["all of them"] = [[function(fn)
    lt.no_grad(function() lt.scope(function() lt.enable_grad(function() lt.no_grad(function() lt.scope(fn) end) end) end) end)
  end]],
}

local CULPRIT = [[
local function culprit() error("out of cheese", 0) end
local function inside() culprit() end
]]

describe("an error inside", function()
  for name, text in pairs(wrappers) do
    local wrap = assert(loadstring("local lt = ... return " .. text))(lt)

    it(name .. " is the same error outside, and what was changed is changed back", function()
      local depth = lt.memory_stats().tensors
      for _, raised in ipairs{"text", {}, 7} do
        local ok, message = pcall(wrap, function() error(raised, 0) end)
        assert.is_false(ok)
        assert.are.equal(raised == 7 and "7" or raised, raised == 7 and tostring(message) or message)
        assert.is_true(lt.is_grad_enabled())
      end
      lt.gc()
      assert.is_true(lt.memory_stats().tensors <= depth + 2)
    end)

    it(name .. " is the same error outside a coroutine", function()
      local thread = coroutine.create(function() wrap(function() error("text", 0) end) end)
      local ok, message = coroutine.resume(thread)
      assert.is_false(ok)
      assert.are.equal("text", message)
      local inner, reason
      coroutine.wrap(function() inner, reason = pcall(wrap, function() error("text", 0) end) end)()
      assert.is_false(inner)
      assert.are.equal("text", reason)
      assert.is_true(lt.is_grad_enabled())
    end)

    it(name .. " ends a program with the traceback of where it was raised", function()
      local status, output = child.run(CULPRIT .. ("local wrap = %s\nwrap(inside)"):format(text))
      assert.are.equal(1, status)
      assert.matches("^luajit: out of cheese\nstack traceback:\n", output)
      assert.is_truthy(output:find("in function 'culprit'", 1, true), output)
      assert.are.equal(1, select(2, output:gsub("out of cheese", "")))
      assert.are.equal(1, select(2, output:gsub("in function 'culprit'", "")))
    end)

    it(name .. " reaches xpcall with the traceback of where it was raised", function()
      local fn = assert(loadstring(CULPRIT .. ("local lt = ...\nlocal wrap = %s\nlocal function main() wrap(inside) end\nreturn main"):format(text)))(lt)
      local ok, message = xpcall(fn, debug.traceback)
      assert.is_false(ok)
      assert.matches("^out of cheese\nstack traceback:\n", message)
      assert.is_truthy(message:find("in function 'culprit'", 1, true), message)
    end)

    it(name .. " may be that the stack overflows", function()
      local function deeper() return 1 + deeper() end
      local ok, message = pcall(wrap, deeper)
      assert.is_false(ok)
      assert.is_truthy(message:find("stack overflow", 1, true) or message:find("error in error handling", 1, true), message)
      assert.is_true(lt.is_grad_enabled())
    end)
  end

  it("a wrapper that was raised elsewhere before is shown from where it is raised now", function()
    local function first() error("twice", 0) end
    local function second() error("twice", 0) end
    assert.is_false(pcall(lt.no_grad, first))
    local _, message = xpcall(function() lt.no_grad(function() second() end) end, debug.traceback)
    assert.is_truthy(message:find("in function 'second'", 1, true), message)
    assert.is_nil(message:find("in function 'first'", 1, true), message)
    _, message = xpcall(function() lt.no_grad(function() first() end) end, debug.traceback)
    assert.is_truthy(message:find("in function 'first'", 1, true), message)
  end)
end)

describe("values pass", function()
  it("through all of them, also nil, and yields through those that allow it", function()
    local function values(...) return ... end
    for _, wrap in ipairs{lt.no_grad, lt.enable_grad, lt.scope, lt.autograd.detect_anomaly} do
      assert.are.equal(3, select("#", wrap(values, nil, 2, nil)))
      assert.are.equal(0, select("#", wrap(values)))
    end
    local thread = coroutine.wrap(function()
      return lt.no_grad(function(a)
        local b = coroutine.yield(a + 1)
        assert.is_false(lt.is_grad_enabled())
        return a + b
      end, 1)
    end)
    assert.are.equal(2, thread())
    assert.is_true(lt.is_grad_enabled())
    assert.are.equal(11, thread(10))
    assert.is_false(pcall(coroutine.wrap(function() lt.scope(coroutine.yield) end)))
  end)

  it("not when no function is given: the error names who was called", function()
    for _, name in ipairs{"no_grad", "enable_grad"} do
      local ok, message = pcall(lt[name], 3)
      assert.is_false(ok)
      assert.is_truthy(message:find(("%s takes a function: lt.%s(function() ... end)"):format(name, name), 1, true), message)
    end
  end)
end)
