--- Functions that cost nothing before they are called.

local require = require

local lazily = {}
local makers = setmetatable({}, {__mode = "k"}) -- functions of this kind -> what makes them

--- A function that is made when it is first called: calls `make` once and from then on what that returned.
function lazily.made(make)
  local fn
  local function first(...)
    if not fn then fn = make() end
    return fn(...)
  end
  makers[first] = make
  return first
end

--- The function that one of this kind calls, which may be of this kind too; nil for any other function.
function lazily.behind(fn)
  local make = makers[fn]
  return make and make()
end

--- The function that one of this kind calls in the end; any other function is itself.
function lazily.real(fn)
  local behind = lazily.behind(fn)
  return behind and lazily.real(behind) or fn
end

--- Puts functions of a module into the table `target`, under their own names; the module is loaded when one of them is first called.
function lazily.from(module, target, names)
  for name in names:gmatch("%S+") do
    target[name] = lazily.made(function()
      local fn = require(module)[name]
      target[name] = fn
      return fn
    end)
  end
end

--- The same where the module itself puts them there, as it has done already if something else loaded it.
function lazily.defined(module, target, names)
  if package.loaded[module] then return end
  for name in names:gmatch("%S+") do
    target[name] = lazily.made(function()
      require(module)
      return target[name]
    end)
  end
end

return lazily
