--- Random orders from the default generator, from a generator object, or from a generator of a seed's own.

local base = require("lunette.ffi")
local create = require("lunette.create")
local ffi = require("ffi")

local C = base.C

local shuffle = {}

--- A generator of its own for a seed, as a table {pointer = ...}.
function shuffle.seeded(seed)
  local out = ffi.new("ln_generator *[1]")
  base.check(C.ln_generator_new(out))
  C.ln_generator_seed(out[0], seed)
  return {pointer = ffi.gc(out[0], C.ln_generator_free)}
end

--- A random order of 0 ... n - 1, int64. generator: nil for the default one, or an object with the field `pointer`.
function shuffle.order(n, generator) return create.randperm(n, {generator = generator, device = "cpu"}) end

return shuffle
