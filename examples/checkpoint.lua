--- Takes over a network that somebody else trained with PyTorch and scores it on MNIST's 10,000 test pictures.
--
--     lunette examples/checkpoint.lua mnist.pt FOLDER
--
-- mnist.pt is the checkpoint of burn's example import-model-weights (examples/import-model-weights/weights in tracel-ai/burn); FOLDER holds
-- t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz. Of 10,000 pictures 9,915 are told right.

local lt = require("lunette")
local nn, F, data = lt.nn, lt.nn.functional, lt.data
local load_idx = dofile((arg[0]:match("^(.*/)") or "./") .. "idx.lua")

local checkpoint, folder = arg[1], arg[2]
if not folder then
  io.stderr:write("usage: lunette examples/checkpoint.lua CHECKPOINT FOLDER\n")
  os.exit(2)
end

-- The names of the fields are those of the checkpoint.
local Net = nn.Module:subclass("Net")

function Net:__init()
  self.conv1, self.conv2, self.conv3 = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 16, 3), nn.Conv2d(16, 24, 3)
  self.norm1 = nn.BatchNorm2d(24)
  self.fc1, self.fc2 = nn.Linear(24 * 22 * 22, 32), nn.Linear(32, 10)
  self.norm2 = nn.BatchNorm1d(10)
end

function Net:forward(x)
  x = F.relu(self.conv1(x))
  x = F.relu(self.conv2(x))
  x = F.relu(self.conv3(x))
  x = self.norm1(x):flatten(1)
  return self.norm2(self.fc2(F.relu(self.fc1(x))))
end

local net = Net()
net:load_state_dict(lt.load(checkpoint))
net:eval()

local images, labels = load_idx(folder, "t10k")

local right, total = 0, images:size(0)
lt.no_grad(function()
  for x, y in data.DataLoader(data.TensorDataset(images:unsqueeze(1), labels), {batch_size = 500}) do
    x = x:float():div(255):sub(0.1307):div(0.3081)
    right = right + net(x):argmax(1):eq(y):sum():item()
  end
end)
print(("%d of %d told right"):format(right, total))
