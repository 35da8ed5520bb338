--- A session: its names, and how chunks run in it.

local base = require("lunette.ffi")
local each = require("lunette.each")
local interrupt = require("lunette.repl.interrupt")
local trace = require("lunette.trace")

require("lunette.interpreted")()

local Session = {}
Session.__index = Session

--- Puts the names that a prompt and `-e` find ready into a table; returns Lunette.
function Session.prepare(env)
  local lt = require("lunette")
  env.lt, env.nn, env.optim = lt, lt.nn, lt.optim
  env.F = lt.nn.functional
  env.help = function(...) return require("lunette.repl.help").help(...) end
  return lt
end

-- The table in which chunks see their names: those declared by `local` lie in it, all others in _G. A declared name may be nil.
local function environment(declared)
  return setmetatable({}, {
    __index = function(_, name)
      if declared[name] then return nil end
      return _G[name]
    end,
    __newindex = function(env, name, value)
      if declared[name] then rawset(env, name, value) else _G[name] = value end
    end,
  })
end

--- A session with the names that are prepared.
function Session.new()
  local declared = {}
  local self = setmetatable({lt = Session.prepare(_G), declared = declared, env = environment(declared), ready = {}}, Session)
  for name in each(_G) do self.ready[name] = true end
  return self
end

function Session:declare(names)
  for _, name in ipairs(names) do
    if not self.declared[name] then
      rawset(self.env, name, _G[name]) -- `local print = print` reads what was there
      self.declared[name] = true
    end
  end
end

--- The names that were typed here, in order.
function Session:names()
  local list = {}
  for name in each(self.declared) do
    if name ~= "_" and rawget(self.env, name) ~= nil then list[#list + 1] = name end
  end
  for name in each(_G) do
    if not self.ready[name] and type(name) == "string" and not self.declared[name] then list[#list + 1] = name end
  end
  table.sort(list)
  return list
end

--- Forgets what was typed here, and sets the names that were ready as they were.
function Session:reset()
  for _, name in ipairs(self:names()) do
    rawset(self.env, name, nil)
    if not self.ready[name] then _G[name] = nil end
  end
  for name in each(self.declared) do
    self.declared[name] = nil
    rawset(self.env, name, nil)
  end
  Session.prepare(_G)
end


-- Grad mode and scopes as they were, should an error have come in the wrong moment.
local function restore(mode, depth)
  base.C.ln_mode_set(mode)
  while base.C.ln_scope_depth() > depth do
    base.C.ln_scope_end()
    base.scope.depth = base.C.ln_scope_depth()
  end
end

local function finish(mode, depth, ok, ...)
  interrupt.take()
  if not ok then restore(mode, depth) end
  return ok, ...
end

--- Runs fn, which may be interrupted; `main` is the function that traces call the main chunk. @return true and its results, or false and an error as
--- trace.described gives it
function Session.protected(_, fn, main)
  local mode, depth = base.C.ln_mode_get(), base.C.ln_scope_depth()
  local function handler(message)
    return trace.described(message, main, interrupt.take())
  end
  interrupt.begin()
  return finish(mode, depth, xpcall(fn, handler))
end

--- Runs a chunk of compile.lua and gives its results to `show`.
function Session:run(chunk, show)
  self:declare(chunk.declared)
  setfenv(chunk.run, self.env)
  return self:protected(function() return show(chunk.run()) end, chunk.run)
end

--- `_` is the last result.
function Session:remember(value)
  self.declared._ = true
  rawset(self.env, "_", value)
end

return Session
