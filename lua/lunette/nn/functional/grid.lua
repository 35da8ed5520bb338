--- Sampling images by a grid of coordinates, and the grid of an affine map.

local arguments = require("lunette.arguments")
local ops = require("lunette.ops")

local fail, tostring = arguments.fail, tostring

-- The coordinates of n positions that divide -1 to 1: from end to end with align_corners, else in the middle of n equal parts.
local function line(n, align_corners, like)
  local i = ops.arange(0, n, 1, like.dtype, like.device)
  if align_corners then return n > 1 and i * (2 / (n - 1)) - 1 or ops.mul(i, 0) end
  return (i * 2 + 1) / n - 1
end

-- [sizes ..., number of sizes + 1]: the coordinates of each position, the last dimension's first, and 1.
local function homogeneous(sizes, align_corners, like)
  local parts, n = {}, #sizes
  for d = n, 1, -1 do
    local shape = {}
    for k = 1, n do shape[k] = k == d and sizes[d] or 1 end
    parts[#parts + 1] = ops.expand(ops.reshape(line(sizes[d], align_corners, like), shape), sizes)
  end
  parts[#parts + 1] = ops.full(sizes, 1, like.dtype, like.device)
  return ops.stack(parts, -1)
end

local function affine_grid(theta, size, align_corners)
  local spatial = #size - 2
  local shape = theta.shape
  if spatial ~= 2 and spatial ~= 3 then fail(("affine_grid: size takes 4 or 5 numbers, got %d"):format(#size)) end
  if #shape ~= 3 or shape[1] ~= spatial or shape[2] ~= spatial + 1 then
    fail(("affine_grid: theta must have shape {N, %d, %d} for a size of %d numbers, got %s"):format(spatial, spatial + 1, #size, tostring(shape)))
  end
  if arguments.is_size(size) then size = {size:unpack()} end
  if shape[0] ~= size[1] then fail(("affine_grid: theta of shape %s holds %d maps, size asks for %d"):format(tostring(shape), shape[0], size[1])) end
  local sizes = {unpack(size, 3)}
  local base = ops.flatten(homogeneous(sizes, align_corners, theta), 0, -2)
  local grid = ops.matmul(ops.unsqueeze(base, 0), ops.transpose(theta, 1, 2))
  table.insert(sizes, 1, size[1])
  sizes[#sizes + 1] = spatial
  return ops.reshape(grid, sizes)
end

return function(_, define)
  define("grid_sample", {
    doc = "The input [N, C, H, W] or [N, C, D, H, W] at the positions of grid [N, ..., 2 or 3], whose coordinates, the last dimension's first, are -1 to 1 "
      .. "from end to end; with align_corners these are the centres of the outermost elements, else their borders.",
    takes = "input, grid, mode, padding_mode, align_corners:bool?",
    call = function(input, grid, mode, padding_mode, align_corners)
      return (ops.grid_sample(input, grid, mode, padding_mode, align_corners or false))
    end,
  })

  define("affine_grid", {
    doc = "The grid for grid_sample by which an output of size {N, C, ...} looks through the affine maps theta [N, 2, 3] or [N, 3, 4].",
    takes = "theta:tensor, size:size>=1, align_corners:bool?",
    call = affine_grid,
  })
end
