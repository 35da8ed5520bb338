--- A function that is made when it is first called: `lazily(make)` calls `make` once and from then on what that returned.
return function(make)
  local fn
  return function(...)
    if not fn then fn = make() end
    return fn(...)
  end
end
