"""PyTorch's side of the benchmark: the cases of bench/cases.lua, printed the same way."""
import math
import os
import re
import sys
import time

SAMPLES, SAMPLE_SECONDS, WARM_UP_SECONDS = 15, 0.02, 0.3


def report(name, times):
    times = sorted(times)
    print(f"{name}\t{1e6 * times[len(times) // 2]:.6f}\t{1e6 * times[0]:.6f}")


group, wanted = (sys.argv[1:] + ["", ""])[:2]

if group == "start":
    before = time.perf_counter()
    import torch
    torch.zeros(1)
    report("start", [time.perf_counter() - before])
    sys.exit()

import torch
from torch import nn
from torch.nn import functional as F

from networks import NETWORKS

DEVICE = os.environ.get("DEVICE")
if DEVICE:
    torch.set_default_device(DEVICE)
if os.environ.get("THREADS"):
    torch.set_num_threads(int(os.environ["THREADS"]))


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
    if wanted not in name:
        return
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


def call_cases():
    measure_add("add", torch.rand(32), torch.rand(32))
    measure_add("add grad", torch.rand(32, requires_grad=True), torch.rand(32))
    linear, x, dy = nn.Linear(8, 8), torch.rand(8, 8), torch.rand(8, 8)

    def run(n):
        for _ in range(n):
            linear(x).backward(dy)
    measure("linear", run)


def random_cases():
    n, x = 10 ** 6, torch.rand(10 ** 6)
    draws = {"rand": lambda: torch.rand(n), "randn": lambda: torch.randn(n), "randint": lambda: torch.randint(0, 100, (n,)),
             "bernoulli": lambda: torch.empty(n).bernoulli_(0.3), "dropout": lambda: F.dropout(x, 0.5)}
    for name, draw in draws.items():
        def run(count):
            for _ in range(count):
                draw()
        measure(name, run)


def network_cases():
    for name, make in NETWORKS.items():
        if wanted not in name:
            continue
        net, loss, optimizer = make()

        def run(n):
            for _ in range(n):
                optimizer.zero_grad()
                loss(net).backward()
                optimizer.step()
        measure(name, run)


def measure_attention(name, batch, heads, length, size):
    q, k, v = [torch.randn(batch, length, heads, size).transpose(1, 2).requires_grad_() for _ in range(3)]
    g = torch.randn(batch, heads, length, size)

    def run(n):
        for _ in range(n):
            F.scaled_dot_product_attention(q, k, v, is_causal=True).backward(g)
    measure(name, run)


def sequence_cases():
    gru, x = nn.GRU(128, 128, 2), torch.randn(64, 32, 128, requires_grad=True)

    def run(n):
        for _ in range(n):
            gru(x)[0].sum().backward()
    measure("gru", run)
    measure_attention("attention", 16, 4, 64, 32)
    measure_attention("attention 1024", 2, 8, 1024, 64)


def loop_cases():
    def case(name, run, *made):
        if wanted in name:
            inputs = [x() if callable(x) else x for x in made]

            def repeat(n):
                for _ in range(n):
                    run(*inputs)
            measure(name, repeat)

    def square():
        return torch.rand(1024, 1024)

    def channels_last():
        return torch.randn(32, 56, 56, 64).permute(0, 3, 1, 2)

    def permuted():
        return torch.rand(64, 48, 512).permute(2, 0, 1)

    def bits():
        return torch.rand(1000000) > 0.5

    def flat():
        return torch.rand(1000000)

    def one_by_one(x):
        total = 0
        for i in range(4000):
            total = total + x.select(0, i).sum()
        total.backward()

    def gelu_backward(y, x, g):
        torch.autograd.grad(y, x, g, retain_graph=True)

    def rows(n):
        return lambda: torch.rand(n, 16)

    case("relu channels-last", F.relu, channels_last)
    case("clone channels-last", torch.clone, channels_last)
    case("add permuted", torch.add, permuted, permuted)
    case("add rows of 3", torch.add, lambda: torch.rand(1000000, 3), lambda: torch.rand(3))
    case("transposed copy", torch.Tensor.contiguous, lambda: torch.rand(2048, 2048).t())
    case("sum dim 1", torch.sum, square, 1)
    case("amax dim 1", torch.amax, square, 1)
    case("amax dim 0", torch.amax, square, 0)
    case("argmax dim 1", torch.argmax, square, 1)
    case("argmax dim 0", torch.argmax, square, 0)
    case("cumsum dim 1", torch.cumsum, square, 1)
    case("cumsum dim 0", torch.cumsum, square, 0)
    case("softmax dim 1", torch.softmax, square, 1)
    case("softmax dim 0", torch.softmax, square, 0)
    case("logical_and", torch.logical_and, bits, bits)
    case("eq", torch.eq, bits, bits)
    case("index_put_", lambda x, at, one: x.index_put_((at,), one), flat, lambda: torch.tensor([5]), lambda: torch.ones(1))
    case("to float16", torch.Tensor.to, flat, torch.float16)
    case("from float16", torch.Tensor.to, lambda: flat().to(torch.float16), torch.float32)
    case("to bfloat16", torch.Tensor.to, flat, torch.bfloat16)
    case("from bfloat16", torch.Tensor.to, lambda: flat().to(torch.bfloat16), torch.float32)
    case("index_add", torch.index_add, rows(100000), 0, lambda: torch.randint(0, 100000, (100000,)), rows(100000))
    case("index_add of 1000 rows", torch.index_add, rows(1000), 0, lambda: torch.randint(0, 1000, (100000,)), rows(100000))
    case("rows one by one", one_by_one, lambda: torch.rand(4000, 16, requires_grad=True))
    case("add 4M", torch.add, lambda: torch.rand(4194304), lambda: torch.rand(4194304))
    case("gelu 1M", F.gelu, lambda: torch.randn(1048576))
    x = torch.randn(1048576, requires_grad=True)
    case("gelu 1M backward", gelu_backward, F.gelu(x), x, lambda: torch.randn(1048576))
    case("embedding", F.embedding, lambda: torch.randint(0, 10000, (64, 64)), lambda: torch.rand(10000, 256))
    ids = torch.randint(0, 10000, (512, 50))
    case("bags", F.embedding_bag, ids, lambda: torch.rand(10000, 64))
    case("bags backward", lambda t, g: torch.autograd.grad(F.embedding_bag(ids, t), t, g), lambda: torch.rand(10000, 64, requires_grad=True),
         lambda: torch.randn(512, 64))


def corners(shape):
    """The corners of 2 x 2 windows as positions in a plane."""
    place = torch.arange(shape[-2]).mul(4 * shape[-1]).unsqueeze(1) + torch.arange(shape[-1]).mul(2)
    return place.expand(shape).contiguous()


def input_of(word, large):
    """An input of functions.txt; large: of the larger of two sizes."""
    sizes, kind = re.match("([0-9x]+)(.*)", word).groups()
    shape = [int(size) for size in sizes.split("x")]
    if large and "*" in kind:
        shape[0] *= 100
    below = re.search("%([0-9]+)", kind)
    if below:
        return torch.randint(0, int(below.group(1)), shape)
    if "@" in kind:
        return corners(shape)
    t = torch.rand(shape) if "?" in kind else torch.randn(shape)
    return t if "!" in kind else t.requires_grad_()


def measure_function(name, words, call, large):
    """A call of functions.txt at one size, and its gradient."""
    inputs = [input_of(word, large) for word in words.split()]
    wanted = [t for t in inputs if t.requires_grad]
    run = eval("lambda x, y=None, z=None: " + call, {"F": F, "torch": torch})
    y = run(*inputs)
    g = torch.randn(y.shape)

    def forward(n):
        for _ in range(n):
            run(*inputs)

    def backward(n):
        for _ in range(n):
            torch.autograd.grad(y, wanted, g, retain_graph=True)
    name += " 1e7" if large else " 1e5"
    measure(name, forward)
    measure(name + " backward", backward)


def function_cases():
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "functions.txt")) as file:
        lines = [line.strip().split(" ; ") for line in file if " ; " in line and line[0] != "#"]
    for name, words, *calls in lines:
        if wanted in name + " 1e5 backward 1e7 backward":
            for large in (False, True):
                measure_function(name, words, calls[-1], large)


GROUPS = {"calls": call_cases, "random": random_cases, "networks": network_cases, "sequences": sequence_cases, "loops": loop_cases,
          "functions": function_cases}
for name in [group] if group else GROUPS:
    GROUPS[name]()
