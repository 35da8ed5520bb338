--- Linear maps as functions.

local arguments = require("lunette.arguments")
local ops = require("lunette.ops")
local ipairs = ipairs

-- All dimensions but the last are those of the batch.
local function check_leading(input1, input2)
  local p, q = input1._p, input2._p
  local same = p.ndim == q.ndim
  for d = 0, same and p.ndim - 2 or -1 do same = same and p.shape[d] == q.shape[d] end
  if not same then
    arguments.fail(("bilinear: inputs of shape %s and %s differ in more than the last dimension"):format(tostring(input1.shape), tostring(input2.shape)))
  end
end

return function(_, define)
  define("linear")
  for _, name in ipairs({"cosine_similarity", "pairwise_distance", "pdist", "normalize"}) do define(name) end

  define("bilinear", {
    doc = "y[..., k] = sum_ij input1[..., i] weight[k, i, j] input2[..., j] + bias[k].",
    takes = "input1:tensor, input2:tensor, weight:tensor, bias:tensor?",
    call = function(input1, input2, weight, bias)
      local shape, n1, n2 = weight.shape, input1.shape[-1], input2.shape[-1]
      if #shape ~= 3 or shape[1] ~= n1 or shape[2] ~= n2 then
        arguments.fail(("bilinear: weight of shape %s does not fit inputs of shape %s and %s"):format(
          tostring(shape), tostring(input1.shape), tostring(input2.shape)))
      end
      check_leading(input1, input2)
      local left = input1:unsqueeze(-1) * input2:unsqueeze(-2)
      return (ops.linear(left:flatten(-2, -1), weight:flatten(1, 2), bias))
    end,
  })
end
