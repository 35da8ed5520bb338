--- Random orders from the default generator, from a generator object, or from a generator of a seed's own.

local create = require("lunette.create")
local random = require("lunette.random")

local shuffle = {}

--- A generator of its own for a seed.
function shuffle.seeded(seed) return random.Generator():manual_seed(seed) end

--- A random order of 0 ... n - 1, int64. generator: nil for the default one.
function shuffle.order(n, generator) return create.randperm(n, {generator = generator, device = "cpu"}) end

return shuffle
