"""Is attention within packed pairs on this device that of a dense mask? By each kernel it has.

H query heads, K key heads, T tokens of a row, D width of a head.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.dpo_round import side
from benchmarks.gpu.results import Bench
from dpo_core.training.attention import flex_segments
from dpo_core.training.attention.segment_attention import Window, attending, segment_attention
from dpo_core.training.passes.packing import Segment

_NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}

VALUES = {torch.float32: 1e-5, torch.bfloat16: 1e-2}
GRADIENTS = {torch.float32: 2e-5, torch.bfloat16: 2e-2}
"""Relative to the largest value: float32 rounds by 6e-8 and sums up to 1,000 terms, bfloat16 rounds
the scores' softmax and the result by 4e-3 each."""

MOST_FOR_BLOCKS_GIB = 1.0

LONG_ROW, TURNS = 2**15, 3
"""Tokens, and how often attention to them is timed."""

ROWS, KERNELS_OF_ROWS = 12, 4
"""Rows of other shapes and windows, and kernels that they may need: with and without gradients, of
one block of 128 tokens and of more."""


def kernels(bench: Bench) -> Sequence[str]:
    """By name, those that a device has; on a CPU the shape decides."""
    return ("by shape",) if bench.tiny else ("flex", "slices")


@contextmanager
def only(kernel: str) -> Iterator[None]:
    """Within, attention takes this kernel, compiled afresh."""
    usual = flex_segments.available
    if kernel == "slices":
        flex_segments.available = lambda device: False
    if kernel == "flex":
        if not usual(torch.device("cuda")):
            raise RuntimeError("flex attention cannot be compiled here: Triton is missing")
        torch.compiler.reset()
        flex_segments._compiled.cache_clear()
    try:
        yield
    finally:
        flex_segments.available = usual


@dataclass(frozen=True)
class Case:
    """One way to ask for attention. window: keys that are seen at most; cap: of the scores."""

    dtype: torch.dtype
    heads: int = 8
    key_heads: int = 2
    window: int | None = None
    cap: float | None = None

    def __str__(self) -> str:
        shared = "" if self.heads == self.key_heads else ", heads share keys"
        window = f", window of {self.window}" if self.window else ""
        return f"{_NAMES[self.dtype]}{shared}{window}{', soft cap' if self.cap else ''}"


def attention(bench: Bench) -> None:
    """Values and gradients by each kernel, against a dense mask in float64."""
    narrow = 5 if bench.tiny else 100
    cases = [
        Case(dtype, key_heads=key_heads, window=window, cap=cap)
        for dtype in (torch.float32, torch.bfloat16)
        for key_heads, window, cap in ((2, None, None), (8, narrow, None), (2, narrow, 5.0))
    ]
    for kernel in kernels(bench):
        with bench.trying(kernel), only(kernel):
            for case in cases:
                with bench.trying(f"{kernel}, {case}"):
                    _compare_attention(bench, kernel, case)
            _measure_speed(bench, kernel)
    with bench.trying("blocks of a long row"):
        _measure_blocks(bench)
    if "flex" in kernels(bench):
        with bench.trying("rows of other lengths"), only("flex"):
            _count_kernels(bench)


def _compare_attention(bench: Bench, kernel: str, case: Case) -> None:
    segments = SEGMENTS if bench.tiny else tuple(_longer(s, 16) for s in SEGMENTS)
    given = _heads(segments, case, bench.device)
    found = _asked(given, segments, case, bench.device)
    exact = [x.detach().double().requires_grad_() for x in given]
    query, key, value = exact
    expected = dense(query, key, value, visible(segments, case.window).to(bench.device), case.cap)
    slopes = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    ours = torch.autograd.grad(found, given, slopes.to(found))
    theirs = torch.autograd.grad(expected, exact, slopes.to(expected))
    what = f"{kernel}, {case}"
    bench.at_most(f"{what}: values", relative(found, expected), VALUES[case.dtype])
    worst = max(relative(one, other) for one, other in zip(ours, theirs, strict=True))
    bench.at_most(f"{what}: gradients", worst, GRADIENTS[case.dtype])


SEGMENTS = (Segment(0, 9, (5, 7)), Segment(21, 3, (4, 0)), Segment(28, 1, (2, 0, 4, 2)))
"""(start, prompt, completions) of three groups in a row of 37 tokens."""


def _longer(segment: Segment, times: int) -> Segment:
    """So many times the tokens: for a GPU a row of 37 is one block."""
    return Segment(
        times * segment.start,
        times * segment.prompt,
        tuple(times * tokens for tokens in segment.completions),
    )


def _heads(segments: Sequence[Segment], case: Case, device: str) -> list[Tensor]:
    """Query, key and value as transformers hands them over: heads of one row of tokens."""
    generator, width = torch.Generator().manual_seed(0), 16 if device == "cpu" else 64

    def heads(count: int) -> Tensor:
        row = torch.randn(1, segments[-1].end, count, width, generator=generator)
        return row.to(device, case.dtype).transpose(1, 2).requires_grad_()

    return [heads(count) for count in (case.heads, case.key_heads, case.key_heads)]


def _asked(given: Sequence[Tensor], segments: Sequence[Segment], case: Case, device: str) -> Tensor:
    """(1, H, T, D) by the trainer's attention."""
    with attending(segments, torch.device(device)):
        query, key, value = given
        window = Window(case.window, True)
        out, _ = segment_attention(
            None, query, key, value, window, scaling=_SCALE, softcap=case.cap
        )
    return out.transpose(1, 2)


_SCALE = 0.3


def dense(query: Tensor, key: Tensor, value: Tensor, seen: Tensor, cap: float | None) -> Tensor:
    """(1, H, T, D) by all scores at once."""
    key, value = (x.repeat_interleave(query.shape[1] // key.shape[1], 1) for x in (key, value))
    scores = query @ key.transpose(2, 3) * _SCALE
    if cap is not None:
        scores = cap * torch.tanh(scores / cap)
    return scores.masked_fill(~seen, -math.inf).softmax(-1) @ value


def visible(segments: Sequence[Segment], window: int | None) -> Tensor:
    """(T, T) true where a token sees another: earlier ones of its own sequence, itself included."""
    seen = torch.zeros(segments[-1].end, segments[-1].end, dtype=torch.bool)
    for s in segments:
        prompt, start = range(s.start, s.start + s.prompt), s.start + s.prompt
        for tokens in s.completions:
            places = torch.tensor([*prompt, *range(start, start + tokens)])
            start += tokens
            sees = torch.ones(len(places), len(places), dtype=torch.bool).tril()
            if window is not None:
                sees &= ~sees.tril(-window)
            seen[places[:, None], places] = sees
    return seen


def relative(found: Tensor, expected: Tensor) -> float:
    """Largest difference, relative to the largest value."""
    exact = expected.detach().double()
    return float((found.detach().double() - exact).abs().max() / exact.abs().max())


def _long_row(tokens: int) -> list[Segment]:
    """Pairs of 512 tokens of prompt and 256 of each completion."""
    return [Segment(start, 512, (256, 256)) for start in range(0, tokens, 1024)]


def _measure_speed(bench: Bench, kernel: str) -> None:
    """Forward and backward, with the row's blocks at hand as they are from the second layer on."""
    segments = _long_row(1024 if bench.tiny else LONG_ROW)
    given = _heads(segments, Case(torch.bfloat16, heads=8 if bench.tiny else 32), bench.device)
    query, key, value = given
    timing: dict[str, Any] = {}
    with attending(segments, torch.device(bench.device)):

        def run() -> None:
            out, _ = segment_attention(None, query, key, value, Window(None, True))
            torch.autograd.grad(out, given, torch.ones_like(out))

        run()
        with side.timed(timing):
            for _ in range(TURNS):
                run()
    what = f"{kernel}: forward and backward of {segments[-1].end:,} tokens"
    bench.figure(what, 1e3 * timing["seconds"] / TURNS, "ms")


def _measure_blocks(bench: Bench) -> None:
    """Which blocks of a row anybody sees is found out token by token, once per row and window; all
    pairs of tokens at once would take ten times the memory."""
    segments, found = _long_row(1024 if bench.tiny else LONG_ROW), dict[str, Any]()
    with side.memory_added(found), side.timed(found):
        flex_segments.blocks(segments, None, torch.device(bench.device))
    what = f"blocks of {segments[-1].end:,} tokens"
    bench.figure(what, 1e3 * found["seconds"], "ms")
    bench.at_most(f"{what}: memory, GiB", found["memory_mib"] / 1024, MOST_FOR_BLOCKS_GIB)


def _count_kernels(bench: Bench) -> None:
    from torch._dynamo.utils import counters

    before = counters["stats"]["unique_graphs"]
    for number in range(ROWS):
        case = Case(torch.bfloat16, window=100 if number % 3 else None)
        segments = [Segment(0, 50 + 37 * number, (40, 30))]
        for _ in range(number % 4):
            segments.append(Segment(segments[-1].end, 20, (30 + number, 25)))
        given = _heads(segments, case, bench.device)
        with torch.no_grad():
            _asked(given, segments, case, bench.device)
        _asked(given, segments, case, bench.device).sum().backward()
    found = counters["stats"]["unique_graphs"] - before
    bench.at_most(f"flex: kernels for {ROWS} rows", found, KERNELS_OF_ROWS)
    bench.at_least("flex: kernels, at least", found, 1)
