--- A training run that is killed at any moment: the file it saves to is the old one or the new one, whole, and a run that begins from it goes on bit for bit as
-- one that nobody disturbed. Since the same values give the same bytes, whole files are compared.

if require("spec.once").done then return end

local lt = require("lunette")
local child = require("spec.child")
local fuzz = require("spec.io.fuzz")
local nn, optim, data = lt.nn, lt.optim, lt.data

local KILLS = 100
local clock = require("lunette.ffi").C.ln_clock

local function exists(path)
  local file = io.open(path, "rb")
  if file then file:close() end
  return file ~= nil
end

-- Everything that a run consists of; dropout draws from the default generator, the order of the data from one of its own.
local function new_run()
  lt.manual_seed(1)
  local net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.BatchNorm1d(8), nn.Linear(8, 2))
  local opt = optim.Adam(net:parameters(), {lr = 0.1})
  local x = lt.arange(20 * 4):reshape(20, 4):sin()
  local generator = lt.Generator():manual_seed(5)
  return {
    net = net, opt = opt, schedule = optim.lr_scheduler.StepLR(opt, 7, {gamma = 0.9}), generator = generator, step = 0, batch = 0, begun = generator:get_state(),
    loader = data.DataLoader(data.TensorDataset(x, x:sum(1):gt(0):long()), {batch_size = 3, shuffle = true, generator = generator}),
  }
end

local function save(run, path)
  lt.save({
    model = run.net:state_dict(), optimizer = run.opt:state_dict(), schedule = run.schedule:state_dict(), random = lt.get_rng_state(),
    sampler = {begun = run.begun, batch = run.batch}, step = run.step,
  }, path)
end

local function restore(run, path)
  local saved = lt.load(path)
  run.net:load_state_dict(saved.model)
  run.opt:load_state_dict(saved.optimizer)
  run.schedule:load_state_dict(saved.schedule)
  lt.set_rng_state(saved.random)
  run.begun, run.batch, run.step = saved.sampler.begun, saved.sampler.batch, saved.step
  run.generator:set_state(run.begun)
end

local function learn(run, x, y)
  run.opt:zero_grad()
  nn.functional.cross_entropy(run.net(x), y):backward()
  run.opt:step()
  run.schedule:step()
  run.step, run.batch = run.step + 1, run.batch + 1
end

-- Trains to step `last`, going on where the file leaves off; `saved` is called after each step.
local function train(path, last, saved)
  local run = new_run()
  if exists(path) then restore(run, path) end
  while run.step < last do
    local passed = 0
    for x, y in run.loader do
      passed = passed + 1
      if passed > run.batch and run.step < last then
        learn(run, x, y)
        save(run, path)
        if saved then saved(run.step) end
      end
    end
    run.begun, run.batch = run.generator:get_state(), 0
  end
end

describe("a training run", function()
  it("that is killed 100 times goes on bit for bit", function()
    local device, folder, texts, last = lt.get_default_device(), child.folder(), {}, 0
    lt.set_default_device("cpu") -- a device does not survive a fork
    finally(function()
      lt.set_default_device(device)
      child.remove_folder(folder)
    end)
    local path = folder .. "/run.pt"
    fuzz.seed(7)
    train(folder .. "/first.pt", 5) -- so that all modules are loaded
    local start = clock()
    train(folder .. "/second.pt", 10)
    local most = math.floor(4e6 * (clock() - start)) -- a process takes some steps before it is killed, also where others wait for the processor
    for _ = 1, KILLS do
      local pid = child.fork(function() train(path, 1e9) end)
      child.sleep(fuzz.draw(0, most))
      child.kill(pid)
      if exists(path) then
        last = lt.load(path).step
        texts[last] = fuzz.read(path)
      end
    end
    assert.is_true(last > KILLS / 4, "steps: " .. last)
    local compared = 0
    train(folder .. "/undisturbed.pt", last, function(step)
      if not texts[step] then return end
      compared = compared + 1
      assert.is_true(texts[step] == fuzz.read(folder .. "/undisturbed.pt"), "step " .. step)
    end)
    assert.is_true(compared > KILLS / 10, "compared: " .. compared)
  end)
end)
