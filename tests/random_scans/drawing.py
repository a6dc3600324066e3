"""The random scan of a number."""

import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tests.random_scans.around import AROUND
from tests.random_scans.operations import ONE, TWO, UNFUSED, WIDTH
from tests.random_scans.scan import DOUBLE, LAYOUTS, Scan
from tests.random_scans.step import Step

# shapes of a leaf beside time and batch, and its dtype (None: the scan's own)
STATES: list[tuple[tuple[int, ...], torch.dtype | None]] = [
    *[((WIDTH,), None)] * 6, ((2, 3), None), ((1,), None), ((), None), ((2, 1, 3), None), ((WIDTH,), torch.int64), ((3,), torch.bool),
    ((), torch.int32), ((0,), None),
]  # fmt: skip
INPUTS: list[tuple[tuple[int, ...], torch.dtype | None]] = [
    *[((WIDTH,), None)] * 4, ((3,), None), ((2, 3), None), ((), None), ((1,), None), ((WIDTH,), torch.int64), ((), torch.bool), ((), torch.int64),
    ((2,), torch.uint8), ((0,), None),
]  # fmt: skip
ODD_DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.complex128]
KINDS_OF_CALLS = ["plain"] * 6 + [name for name in AROUND if name != "plain"]


def drawn(seed: int) -> Scan:
    """The scan of this number."""
    r, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    dtype = r.choice([DOUBLE] * 8 + [torch.float32] * 3 + [torch.bfloat16])
    is_odd = r.random() < 0.15  # of kinds that a fused loop does not take
    time, batch = (
        r.choice([1, 1, 2, 3, 3, 4, 7, 0 if is_odd else 5]),
        r.choice([1, 1, 2, 3, 3, 5, 6, 0 if is_odd else 4]),
    )

    def number(shape: tuple[int, ...], kind: torch.dtype) -> Tensor:
        numbers = torch.randn(shape, generator=generator, dtype=DOUBLE)
        return (numbers * 3).to(kind) if not kind.is_floating_point and not kind.is_complex else numbers.to(kind)

    def leaves(table: list, lead: tuple[int, ...], most: int, is_usual: Callable) -> list[Tensor]:
        n = r.choice([1, 1, 2, 2, 3, most])
        found = [r.choice(table if is_odd else [each for each in table if is_usual(each)]) for _ in range(n)]
        kinds = [
            r.choice(ODD_DTYPES) if kind is None and is_odd and r.random() < 0.1 else kind or dtype for _, kind in found
        ]
        made = [number((*lead, *shape), kind) for (shape, _), kind in zip(found, kinds, strict=True)]
        return [each.requires_grad_(each.dtype.is_floating_point and r.random() < 0.75) for each in made]

    xs = leaves(INPUTS, (time, batch), 3, lambda each: each[0] != (0,))
    states = leaves(STATES, (batch,), 4, lambda each: each[1] is None and each[0] != (0,))
    held = [number((WIDTH, WIDTH), dtype) * 0.3, number((WIDTH,), dtype), number((batch, r.choice([1, WIDTH])), dtype)]
    held = [each.requires_grad_(r.random() < 0.7) for each in held]
    names = ["product", "linear", "by row", *ONE, *TWO]
    names = names if is_odd else [name for name in names if name not in UNFUSED]
    nodes = [(r.choice(names), r.randrange(99), r.randrange(99)) for _ in range(r.choice([0, 1, 2, 3, 4, 6, 9]))]
    kinds = ["new"] * 5 + ["bounded", "same", "other", "input"]
    news = [(r.choice(kinds), r.randrange(99) if r.random() < 0.4 else 0) for _ in states]
    form = r.choice(["one", "one", "tuple", "dict", "nested"])
    n_ys = 1 if form == "one" else r.choice([1, 2, 3])
    ys = [
        (r.choice(["value", "value", "new", "state", "input"]), r.randrange(99) if r.random() < 0.5 else 0)
        for _ in range(n_ys)
    ]
    layouts = lambda n: [r.choice(list(LAYOUTS)) if r.random() < 0.35 else "plain" for _ in range(n)]
    a_form = lambda n: r.choice(["one", "one", "tuple"] if n == 1 else ["tuple", "tuple", "list", "dict", "nested"])
    scan = Scan(
        seed, Step(nodes, news, ys, form, held, dtype), xs, layouts(len(xs)), a_form(len(xs)), states,
        layouts(len(states)), a_form(len(states)), wanted=[*xs, *states, *held],
    )  # fmt: skip
    scan.wanted = [each for each in scan.wanted if each.requires_grad]
    options: dict[str, Any] = {"reverse": r.random() < 0.3, "recompute": r.random() < 0.15}
    if r.random() < 0.35:
        options["lengths"] = torch.randint(0, time + 1, (batch,), generator=generator)
    if r.random() < 0.25:
        options["resets"] = torch.rand(time, batch, generator=generator) < 0.3
    scan.around = r.choice(KINDS_OF_CALLS)
    if r.random() < 0.2 and scan.around not in ("double", "batched grads"):  # which the fused loop refuses
        options["clip_state_grad"] = r.choice([0.01, 0.3, 1e9, 1])
    scan.options = options
    if r.random() < 0.15:
        scan.aliases = r.choice(["state of inputs", "one state twice", "one input twice", "state is held"])
    return scan
