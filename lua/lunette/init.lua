--- Lunette: a Lua-scripted deep learning environment. `local lt = require("lunette")`.
--
-- lt holds the tensor functions; lt.nn, lt.optim, lt.data are loaded when first named, so that a script that needs none of them starts in a
-- few milliseconds.

require("lunette.bundle")
local each = require("lunette.each")
local base = require("lunette.ffi")
local arguments = require("lunette.arguments")
local ops = require("lunette.ops")
local Size = require("lunette.size")
local create = require("lunette.create")
local random = require("lunette.random")
local autograd = require("lunette.autograd")
local kinds = require("lunette.kinds")
local lazily = require("lunette.lazily")
require("lunette.tensor")

local C, ffi, T, fail, is_tensor = base.C, base.ffi, base.T, base.fail, base.is_tensor
local type, tonumber, ipairs, unpack = type, tonumber, ipairs, unpack

local lt = {None = arguments.None, Size = Size.Size, is_tensor = is_tensor}
lt.version = ffi.string(C.ln_version())

for name, fn in each(create) do lt[name] = fn end
for name in each(base.dtype_id) do lt[name] = name end
for name, dtype in each(kinds.dtype_aliases) do
  lt[name] = dtype
end

lt.autograd = autograd
for _, name in ipairs {"no_grad", "enable_grad", "set_grad_enabled", "is_grad_enabled", "scope"} do lt[name] = autograd[name] end

-- Random numbers -------------------------------------------------------------------------------------------------------------------------

lt.Generator, lt.default_generator = random.Generator, random.default_generator
--- Starts the default generator at the beginning of the stream of a seed; returns the generator.
function lt.manual_seed(seed) return lt.default_generator:manual_seed(seed) end
--- Starts the default generator at a seed that the system's entropy gives; returns the seed.
function lt.seed() return lt.default_generator:seed() end
--- The seed that the default generator was started with.
function lt.initial_seed() return lt.default_generator:initial_seed() end
--- The state of the default generator, for set_rng_state.
function lt.get_rng_state() return lt.default_generator:get_state() end
--- Goes on where the default generator stood when get_rng_state gave the state.
function lt.set_rng_state(state) lt.default_generator:set_state(state) end

-- Lists, maps, containers ----------------------------------------------------------------------------------------------------------------

--- for i, x in lt.enumerate(v) do: over an array, a container, a tensor or a Size; i from 0.
function lt.enumerate(v)
  local meta = type(v) == "userdata" and getmetatable(v)
  if not (type(v) == "table" or meta and meta.__len or is_tensor(v) or arguments.is_size(v)) then
    fail("enumerate: an array, a container, a tensor or a Size is expected, got " .. arguments.describe(v))
  end
  local i, n, from = -1, #v, type(v) == "table" and 1 or 0
  return function()
    i = i + 1
    if i < n then return i, v[i + from] end
  end
end

local parse_unpack = arguments.signature("unpack", "list:map")
local parse_merge = arguments.signature("merge", "a:map, b:map")

--- All values of an array that may hold nil and then carries n.
function lt.unpack(...)
  local list = parse_unpack(...)
  local n = list.n or #list
  if not arguments.is_int(n) or n > 7000 then fail(("unpack: an array of at most 7000 values is expected, n is %s"):format(tostring(n))) end
  return unpack(list, 1, n)
end

--- A new table with the names of a and b; those of b win.
function lt.merge(...)
  local a, b = parse_merge(...)
  local merged = {}
  for k, v in each(a) do merged[k] = v end
  for k, v in each(b) do merged[k] = v end
  return merged
end

lazily.from("lunette.nn.ordered", lt, "items keys len")
lazily.from("lunette.nn.copy", lt, "isinstance deepcopy")
lazily.from("lunette.io", lt, "save load read_file")
lazily.from("lunette.fit", lt, "fit")
lazily.from("lunette.print", lt, "set_printoptions")
lazily.from("lunette.print", base.hooks, "tostring")
lazily.from("lunette.index", lt, "slice")
lazily.from("lunette.index", base.hooks, "get set")
lazily.from("lunette.index", T, "index_put index_put_")
lazily.from("lunette.shapes", lt, "atleast_1d atleast_2d atleast_3d hstack vstack row_stack dstack column_stack block_diag cartesian_prod combinations "
  .. "tensor_split hsplit vsplit dsplit broadcast_shapes broadcast_tensors take_along_dim unflatten repeat_interleave")
lazily.from("lunette.derived", lt, "tril_indices triu_indices vander result_type can_cast")
lazily.from("lunette.statistics", lt, "var_mean std_mean nansum nanmean dist renorm cov corrcoef diff trapezoid trapz cumulative_trapezoid")
lazily.from("lunette.statistics", T, "nansum nanmean dist renorm renorm_ cov corrcoef diff")
lazily.from("lunette.einsum", lt, "einsum")
lazily.from("lunette.contraction", lt, "tensordot chain_matmul")
lazily.from("lunette.decompositions", lt, "svd")
lazily.from("lunette.decompositions", T, "svd")
lazily.from("lunette.unique", lt, "unique unique_consecutive")
lazily.from("lunette.unique", T, "unique unique_consecutive")
lazily.from("lunette.shapes", T, "tensor_split hsplit vsplit dsplit take_along_dim unflatten repeat_interleave")

-- Functions that are methods too ---------------------------------------------------------------------------------------------------------

local METHODS = {"split", "chunk", "unbind", "tile", "equal", "allclose", "dot", "t", "numel", "as_strided", "is_floating_point", "index_put"}
for _, name in ipairs(METHODS) do lt[name] = T[name] end

local parse_grids = arguments.signature("meshgrid", "tensors:tensors, indexing:enum(ij|xy)=ij")

-- The tensors in front as one array, then the rest.
local function gather_tensors(list, first, ...)
  if not is_tensor(first) then return list, first, ... end
  list[#list + 1] = first
  return gather_tensors(list, ...)
end

local function vector_sizes(list)
  if #list == 0 then fail("meshgrid: at least one vector is needed") end
  local shape = {}
  for i, v in ipairs(list) do
    if v.dtype ~= list[1].dtype then fail(("meshgrid: vectors of one dtype are expected, got %s and %s"):format(list[1].dtype, v.dtype)) end
    if v:dim() > 1 then fail(("meshgrid: vectors are expected, tensor %d has shape %s"):format(i - 1, tostring(v.shape))) end
    shape[i] = v:numel()
  end
  return shape
end

--- Grids of coordinates from vectors, given one by one or as an array. Dimension i of a grid goes along vector i; with indexing = "xy" the first two
-- change places. @return an array of tensors
function lt.meshgrid(...)
  local list, order
  if is_tensor((...)) then list, order = parse_grids(gather_tensors({}, ...)) else list, order = parse_grids(...) end
  local shape, grids = vector_sizes(list), {}
  for i, v in ipairs(list) do
    local narrow = {}
    for k = 1, #list do narrow[k] = k == i and shape[i] or 1 end
    grids[i] = v:reshape(narrow):expand(shape)
    if order == "xy" and #list > 1 then grids[i] = grids[i]:transpose(0, 1) end
  end
  return grids
end

local parse_promote = arguments.signature("promote_types", "type1:dtype, type2:dtype")

--- The dtype that an operator gives for operands of two dtypes.
function lt.promote_types(...)
  local a, b = parse_promote(...)
  return base.dtype_name[C.ln_promote_types(base.dtype_id[a], base.dtype_id[b])]
end

-- The process ----------------------------------------------------------------------------------------------------------------------------

--- Where tensors are made when no device is named: lt.set_default_device("cuda:0"). An error when the device cannot be used.
lt.set_default_device = base.set_default_device
--- Where tensors are made when no device is named.
function lt.get_default_device() return base.device_name(base.device_id(nil)) end

--- How many threads compute.
function lt.get_num_threads() return C.ln_get_num_threads() end
--- Lets n threads compute.
function lt.set_num_threads(n)
  if type(n) ~= "number" or n < 1 or n % 1 ~= 0 then fail("set_num_threads: a whole number from 1 is expected") end
  C.ln_set_num_threads(n)
end

--- What this build computes with, as text.
function lt.show_config() return ffi.string(C.ln_build_info()) end

--- Sets how much may be allocated before a cycle of Lua's collector: lt.gc{floor = bytes}. Without arguments runs one cycle.
function lt.gc(options)
  if options == nil then return base.collect() end
  if type(options) ~= "table" or type(options.floor) ~= "number" or options.floor < 0 then fail("gc: {floor = bytes} is expected") end
  base.pace.floor = options.floor
  base.pace.limit = tonumber(base.memory.live) + options.floor
end

--- Bytes that tensors of this process hold and keep for reuse.
function lt.memory_stats()
  local m = C.ln_memory_counters()
  return {live = tonumber(m.live), cached = tonumber(m.cached), peak = tonumber(m.peak), tensors = tonumber(m.tensors), nodes = tonumber(m.nodes)}
end

-- Names: operators are looked up in their table, packages loaded when first named -----------------------------------------------------------

local PACKAGES = {
  nn = "lunette.nn", optim = "lunette.optim", data = "lunette.data", cuda = "lunette.cuda", linalg = "lunette.linalg", func = "lunette.nn.utils.stateless",
  metrics = "lunette.metrics",
  SparseTensor = "lunette.sparse",
}

-- All names of lt in order.
local function all_names()
  local known, names = {}, {}
  for _, source in ipairs({lt, PACKAGES}) do
    for name in each(source) do known[name] = true end
  end
  for _, name in ipairs(ops.names()) do known[name] = true end
  for name in each(known) do names[#names + 1] = name end
  table.sort(names)
  return names
end

setmetatable(lt, {
  __package = "lt",
  __names = all_names,
  __index = function(_, name)
    local value
    if PACKAGES[name] then
      value = require(PACKAGES[name])
    else
      value = ops.public(name)
    end
    if value == nil then fail(("lt has no '%s'%s"):format(tostring(name), arguments.hint(name, all_names()))) end
    lt[name] = value
    return value
  end,
})

return lt
