--- size_average and reduce, deprecated booleans that say what `reduction` says and override it when either is given.

--- "none", "mean", "sum", or what else `reduction` is.
return function(size_average, reduce, reduction)
  if size_average == nil and reduce == nil then return reduction end
  if reduce == false then return "none" end
  return size_average == false and "sum" or "mean"
end
