--- LUNETTE_TEST_DEVICE=cuda runs the specs there: tensors are made on that device wherever a spec names none.

local device = os.getenv("LUNETTE_TEST_DEVICE")
if device and device ~= "" then
  require("lunette").set_default_device(device)
  for name in pairs(package.loaded) do -- every spec file loads all of Lunette anew
    if name:find("^lunette") then package.loaded[name] = nil end
  end
end

if os.getenv("LUNETTE_TEST_DISTURBANCE") == "1" then dofile("spec/disturbance.lua") end
