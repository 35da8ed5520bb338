--- What is made of the losses of single elements: "none", "mean", "sum", and the deprecated booleans that say the same.

local reductions = {}

--- size_average and reduce, when either is given, override reduction.
function reductions.name(size_average, reduce, reduction)
  if size_average == nil and reduce == nil then return reduction end
  if reduce == false then return "none" end
  return size_average == false and "sum" or "mean"
end

function reductions.apply(x, reduction)
  if reduction == "mean" then return x:mean() end
  if reduction == "sum" then return x:sum() end
  return x
end

return reductions
