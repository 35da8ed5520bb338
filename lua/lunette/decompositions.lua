--- The older form of a decomposition: lt.svd.

local define = require("lunette.define")
local ops = require("lunette.ops")

local old = {}
local declare = define.into(old, "lt")

declare("svd", {
  several = true, doc = "U, S and V of linalg.svd, V as columns; all of them unless some. Without compute_uv U and V are zeros.",
  takes = "input:tensor, some:bool=true, compute_uv:bool=true",
  call = function(input, some, compute_uv)
    if compute_uv then
      local u, s, vh = ops["linalg.svd"](input, not some)
      return u, s, vh:transpose(-2, -1)
    end
    local s, shape = ops["linalg.svdvals"](input), input.shape:totable()
    local function zeros(n)
      shape[#shape - 1], shape[#shape] = n, n
      return ops.full({unpack(shape)}, 0, input.dtype, input.device)
    end
    return zeros(input:size(-2)), s, zeros(input:size(-1))
  end,
})

return old
