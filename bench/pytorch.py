"""PyTorch's side of the benchmark: the cases of bench/cases.lua, printed the same way."""
import math
import os
import sys
import time

SAMPLES, SAMPLE_SECONDS, WARM_UP_SECONDS = 15, 0.02, 0.3


def report(name, times):
    times = sorted(times)
    print(f"{name}\t{1e6 * times[len(times) // 2]:.6f}\t{1e6 * times[0]:.6f}")


if sys.argv[1:] == ["start"]:
    before = time.perf_counter()
    import torch
    torch.zeros(1)
    report("start", [time.perf_counter() - before])
    sys.exit()

import torch
from torch import nn
from torch.nn import functional as F

DEVICE = os.environ.get("DEVICE")
if DEVICE:
    torch.set_default_device(DEVICE)


def finish():
    if DEVICE:
        torch.cuda.synchronize()


def time_of(run, n):
    before = time.perf_counter()
    run(n)
    finish()
    return time.perf_counter() - before


def measure(name, run):
    """Times run(n), which does a thing n times, when it has run for a while; n grows until a sample is long enough for the clock."""
    warm, n = 0.0, 1
    while warm < WARM_UP_SECONDS:
        warm += time_of(run, 1)
    elapsed = time_of(run, n)
    while elapsed < SAMPLE_SECONDS:
        n = math.ceil(n * min(10, 1.2 * SAMPLE_SECONDS / elapsed))
        elapsed = time_of(run, n)
    report(name, [time_of(run, n) / n for _ in range(SAMPLES)])


def measure_add(name, a, b):
    def run(n):
        for _ in range(n):
            a + b
    measure(name, run)


def add_cases():
    measure_add("add", torch.rand(32), torch.rand(32))
    measure_add("add grad", torch.rand(32, requires_grad=True), torch.rand(32))


def random_cases():
    n, x = 10 ** 6, torch.rand(10 ** 6)
    draws = {"rand": lambda: torch.rand(n), "randn": lambda: torch.randn(n), "randint": lambda: torch.randint(0, 100, (n,)),
             "bernoulli": lambda: torch.empty(n).bernoulli_(0.3), "dropout": lambda: F.dropout(x, 0.5)}
    for name, draw in draws.items():
        def run(count):
            for _ in range(count):
                draw()
        measure(name, run)


def linear_case():
    linear, x, dy = nn.Linear(8, 8), torch.rand(8, 8), torch.rand(8, 8)

    def run(n):
        for _ in range(n):
            linear(x).backward(dy)
    measure("linear", run)


def step_case(name, net, x, y):
    optimizer = torch.optim.Adam(net.parameters())

    def run(n):
        for _ in range(n):
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
    measure(name, run)


add_cases()
linear_case()
random_cases()
step_case("mlp step", nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)),
          torch.rand(64, 784), torch.randint(0, 10, (64,)))
step_case("conv step", nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 7 * 7, 10)),
    torch.rand(64, 1, 28, 28), torch.randint(0, 10, (64,)))
