--- Padding as a function.

return function(_, define) define("pad") end
