--- Functions that cost nothing before they are called.

local require = require

local lazily = {}

--- A function that is made when it is first called: calls `make` once and from then on what that returned.
function lazily.made(make)
  local fn
  return function(...)
    if not fn then fn = make() end
    return fn(...)
  end
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

--- The same where the module itself puts them there.
function lazily.defined(module, target, names)
  for name in names:gmatch("%S+") do
    target[name] = lazily.made(function()
      require(module)
      return target[name]
    end)
  end
end

return lazily
