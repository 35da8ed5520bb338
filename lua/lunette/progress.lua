--- A progress bar: what is done, items a second, the loss, the time left. Where the output is no terminal, a plain line now and then.

local base = require("lunette.ffi")

local Progress = {}
Progress.__index = Progress

local C = base.C

local function is_terminal() return C.ln_is_terminal(1) end

local function duration(seconds)
  if seconds < 60 then return ("%.0f s"):format(seconds) end
  return ("%d:%02d min"):format(math.floor(seconds / 60), seconds % 60)
end

--- Seconds of a clock that only moves forward.
local function now() return C.ln_clock() end

--- @param title what is going on. @param total steps. @return an object with step(items, loss) and finish()
local function new(_, title, total)
  return setmetatable({title = title, total = total, done = 0, items = 0, start = now(), drawn = 0, terminal = is_terminal()}, Progress)
end

local WIDTH = 28

local function line(self)
  local elapsed = now() - self.start
  local share = self.total > 0 and self.done / self.total or 1
  local left = share > 0 and elapsed / share - elapsed or 0
  local rate = elapsed > 0 and self.items / elapsed or 0
  local loss = self.loss and ("  loss %.4f"):format(self.loss) or ""
  return share, ("%3.0f %%  %6.0f items/s%s  %s left"):format(100 * share, rate, loss, duration(left))
end

local function draw(self)
  local share, text = line(self)
  if self.terminal then
    local full = math.floor(share * WIDTH)
    io.write("\r", self.title, " [", ("="):rep(full), (" "):rep(WIDTH - full), "] ", text, "   ")
  else
    io.write(self.title, " ", text, "\n")
  end
  io.flush()
end

--- One step further: how many items it took in, and the loss if there is one.
function Progress:step(items, loss)
  self.done, self.items = self.done + 1, self.items + (items or 1)
  if loss then self.loss = self.loss and 0.9 * self.loss + 0.1 * loss or loss end
  local t = now()
  if t - self.drawn >= (self.terminal and 0.1 or 2) then
    self.drawn = t
    draw(self)
  end
end

--- Draws the end.
function Progress:finish()
  draw(self)
  if self.terminal then io.write("\n") end
end

return setmetatable({}, {__call = new})
