--- The examples on small made-up data: they run, save what they need, go on from it, and say how they are called.

if require("spec.once").done then return end

local child = require("spec.child")

local here = debug.getinfo(1, "S").source:match("^@(.*)spec/examples_spec%.lua$")

local folder
setup(function() folder = child.folder() end)
teardown(function() child.remove_folder(folder) end)

local function write(name, text)
  local file = assert(io.open(folder .. "/" .. name, "wb"))
  file:write(text)
  file:close()
end

-- What an example prints, run in the folder with arguments.
local function run(name, arguments)
  local root = child.shell("cd '" .. (here == "" and "." or here) .. "' && pwd")
  local command = ("cd '%s' && LUNETTE_TEST_DEVICE= timeout 100 '%s/lua/lunette/bin/lunette' '%s/examples/%s.lua' %s 2>&1"):format(folder, root, root, name, arguments)
  local pipe = assert(io.popen(command))
  local output = pipe:read("*a")
  pipe:close()
  return output
end

-- Runs twice, for so many steps or epochs and for more; the second run must go on where the first ended.
local function goes_on(name, data, first, second, pattern)
  local output = run(name, data .. " " .. first)
  assert.matches(pattern:format(first), output)
  output = run(name, data .. " " .. second)
  assert.matches(pattern:format(second), output)
  assert.is_nil(output:find(pattern:format(first)), output)
  assert.is_nil(output:find("traceback", 1, true), output)
end

describe("the example", function()
  it("char_lstm writes letters and goes on", function()
    write("text", ("to be or not to be, that is the question\n"):rep(60))
    goes_on("char_lstm", "text", 2, 3, "step %d: held%%-out loss [%%d.]+")
  end)

  it("gpt writes letters and goes on", function()
    write("text", ("to be or not to be, that is the question\n"):rep(60))
    goes_on("gpt", "text", 2, 3, "step %d: held%%-out loss [%%d.]+")
  end)

  it("names makes names up and goes on", function()
    write("names", ("anna\nbert\ncarla\ndora\nemil\nfrida\ngustav\nhanna\nida\n"):rep(40):sub(1, -2))
    goes_on("names", "names", 1, 2, "epoch %d: loss [%%d.]+, on names held out [%%d.]+")
  end)

  it("weather forecasts and goes on", function()
    local days = {'"Date","Temp"'}
    for i = 1, 500 do days[#days + 1] = ('"1981-%02d-%02d",%.1f'):format(i % 12 + 1, i % 28 + 1, 10 + 5 * math.sin(i / 30)) end
    write("days.csv", table.concat(days, "\n"))
    goes_on("weather", "days.csv", 1, 2, "epoch %d: mean error [%%d.]+ degrees")
    assert.matches('of "as today": [%d.]+ degrees', run("weather", "days.csv 2"))
  end)

  it("says how it is called", function()
    for _, name in ipairs{"char_lstm", "gpt", "names", "weather", "resnet", "autoencoder", "translate", "mnist", "prune"} do
      assert.matches("^usage: lunette examples/" .. name, run(name, ""))
    end
  end)
end)

