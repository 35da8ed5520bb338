"""The seven networks of bench/networks.lua in PyTorch: name -> a function that makes (module, loss(module), optimizer)."""
import torch
from torch import nn, optim
from torch.nn import functional as F


def classify(x, classes):
    y = torch.randint(0, classes, (x.shape[0],))
    return lambda net: F.cross_entropy(net(x), y)


def micro():
    net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1))
    x, y = torch.randn(1, 2), torch.ones(1, 1)
    return net, lambda net: F.mse_loss(net(x), y), optim.SGD(net.parameters(), lr=0.01)


def makemore():
    net = nn.Sequential(nn.Embedding(27, 10), nn.Flatten(), nn.Linear(30, 200), nn.Tanh(), nn.Linear(200, 27))
    return net, classify(torch.randint(0, 27, (32, 3)), 27), optim.SGD(net.parameters(), lr=0.1)


def mlp():
    net = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))
    return net, classify(torch.rand(64, 784), 10), optim.Adam(net.parameters())


def lenet():
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 7 * 7, 10))
    return net, classify(torch.rand(64, 1, 28, 28), 10), optim.Adam(net.parameters())


class Block(nn.Module):
    def __init__(self, before, after, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(after)
        self.conv2, self.bn2 = nn.Conv2d(after, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)
        self.shortcut = None
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride=stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (self.shortcut(x) if self.shortcut else x))


def resnet20():
    layers, before = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()], 16
    for stage, width in enumerate((16, 32, 64)):
        for i in range(3):
            layers.append(Block(before, width, 2 if stage and not i else 1))
            before = width
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    return net, classify(torch.rand(32, 3, 32, 32), 10), optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)


class CharLSTM(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.lstm, self.head = nn.Embedding(65, 128), nn.LSTM(128, 128, 2), nn.Linear(128, 65)

    def forward(self, ids):
        return self.head(self.lstm(self.embedding(ids))[0]).flatten(0, 1)


def charlstm():
    net, x, y = CharLSTM(), torch.randint(0, 65, (64, 32)), torch.randint(0, 65, (64 * 32,))
    return net, lambda net: F.cross_entropy(net(x), y), optim.Adam(net.parameters())


class NanoGPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.position, self.head = nn.Embedding(65, 128), nn.Embedding(64, 128), nn.Linear(128, 65)
        layer = nn.TransformerEncoderLayer(128, 4, 512, 0, "gelu", norm_first=True, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(128)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(64))
        self.register_buffer("places", torch.arange(64))

    def forward(self, ids):
        x = self.layers(self.embedding(ids) + self.position(self.places), mask=self.mask, is_causal=True)
        return self.head(self.norm(x)).flatten(0, 1)


def nanogpt():
    net, x, y = NanoGPT(), torch.randint(0, 65, (16, 64)), torch.randint(0, 65, (16 * 64,))
    return net, lambda net: F.cross_entropy(net(x), y), optim.AdamW(net.parameters())


NETWORKS = {make.__name__: make for make in (micro, makemore, mlp, lenet, resnet20, charlstm, nanogpt)}
