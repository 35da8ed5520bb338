--- Generators: where random numbers come from. docs/random.md says what a seed means.
--
-- A generator is C's own object, so nothing can be put in its place; its methods are set once in a process and stand in a table that each load
-- refills.

local base = require("lunette.ffi")
local arguments = require("lunette.arguments")

local C, ffi, fail, check = base.C, base.ffi, base.fail, base.check
local istype, cast, type, tonumber = ffi.istype, ffi.cast, type, tonumber

local random = {}
local Generator = base.registry.generator or {}
local generator_type, uint64_t, int64_t = ffi.typeof("ln_generator *"), ffi.typeof("uint64_t"), ffi.typeof("int64_t")
local seed_out, offset_out, slot = ffi.new("uint64_t[1]"), ffi.new("uint64_t[1]"), ffi.new("ln_generator *[1]")

if not base.registry.generator then
  base.registry.generator = Generator
  ffi.metatype("ln_generator", {
    __index = function(_, name)
      local method = Generator[name]
      if method == nil then Generator.unknown(name) end
      return method
    end,
    __newindex = function(_, name) Generator.fixed(name) end,
    __tostring = function(g) return Generator.describe(g) end,
  })
end

function Generator.unknown(name)
  fail(("a generator has no method '%s'%s"):format(tostring(name), arguments.hint(name, {"manual_seed", "seed", "initial_seed", "get_state", "set_state"})))
end

function Generator.fixed(name) fail(("a generator has no field '%s' that can be set"):format(tostring(name))) end

function Generator.describe(g) return ("<lunette Generator, seed %s>"):format((tostring(g:initial_seed()):gsub("ULL", ""))) end

--- Is x a generator?
local function is_generator(x) return (istype(generator_type, x)) and x ~= nil end
random.is_generator = is_generator

local function own(g, method)
  if not is_generator(g) then fail(("%s is a method of a generator: g:%s(...), g = lt.Generator()"):format(method, method)) end
  return g
end

-- Seeds: 64 bits. A negative number stands for its two's complement.
local function to_seed(name, seed)
  if istype(uint64_t, seed) or istype(int64_t, seed) then return cast(uint64_t, seed) end
  if type(seed) == "number" and seed % 1 == 0 and seed >= -2 ^ 63 and seed < 2 ^ 64 then
    return seed < 0 and cast(uint64_t, cast(int64_t, seed)) or cast(uint64_t, seed)
  end
  fail(("%s: the seed must be a whole number from -2^63 to 2^64 - 1, got %s"):format(name, arguments.describe(seed)))
end

--- Starts the generator at the beginning of the stream of a seed. @return the generator
function Generator:manual_seed(seed)
  C.ln_generator_seed(own(self, "manual_seed"), to_seed("manual_seed", seed))
  return self
end

--- The seed that the generator was started with: a number, or uint64 beyond 2^53.
function Generator:initial_seed()
  C.ln_generator_get(own(self, "initial_seed"), seed_out, offset_out)
  local seed = seed_out[0]
  return seed <= 2ULL ^ 53 and tonumber(seed) or seed
end

--- Starts the generator at a seed that the system's entropy gives. @return the seed
function Generator:seed()
  own(self, "seed")
  local file = io.open("/dev/urandom", "rb")
  local bytes = file and file:read(6)
  if file then file:close() end
  if not bytes then fail("seed: /dev/urandom cannot be read") end
  local seed = 0
  for i = 1, 6 do seed = seed * 256 + bytes:byte(i) end
  self:manual_seed(seed)
  return seed
end

--- The state, for set_state: an int64 tensor of the seed and the blocks taken so far.
function Generator:get_state()
  C.ln_generator_get(own(self, "get_state"), seed_out, offset_out)
  return require("lunette.create").tensor({cast(int64_t, seed_out[0]), cast(int64_t, offset_out[0])}, {dtype = "int64", device = "cpu"})
end

--- Goes on where the generator that gave the state stood. @return the generator
function Generator:set_state(state)
  own(self, "set_state")
  if not (base.is_tensor(state) and state.dtype == "int64" and state:dim() == 1 and state:numel() == 2) then
    fail("set_state: what get_state gave is expected, an int64 tensor of 2 elements, not " .. arguments.describe(state))
  end
  local words = cast("const uint64_t *", base.pointer(state:to("int64", "cpu"):contiguous()).data)
  C.ln_generator_set(self, words[0], words[1])
  return self
end

--- A generator of its own, to be handed to rand, randn, randint, randperm, DataLoader ... as {generator = g}.
function random.Generator()
  check(C.ln_generator_new(slot))
  return ffi.gc(slot[0], C.ln_generator_free)
end

random.default_generator = C.ln_generator_default()

return random
