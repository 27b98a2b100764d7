"""Is what the fast pass computes on this device the same function? Kernels, layers, whole models.

H query heads, K key heads, T tokens of a row, D width of a head, N completion tokens.
"""

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import AutoModelForCausalLM

from benchmarks.dpo_round import side
from benchmarks.gpu.results import Bench
from dpo_core.training.attention import flex_segments
from dpo_core.training.attention.segment_attention import Window, attending, segment_attention
from dpo_core.training.pairs.batching import TrainingPair
from dpo_core.training.passes.choose_path import AGREEMENT
from dpo_core.training.passes.fast_path import FastPath
from dpo_core.training.passes.fused_layers import FusedLayers
from dpo_core.training.passes.model_size import HEAD_ROWS
from dpo_core.training.passes.packing import Segment
from dpo_core.training.passes.pass_over_pairs import PairPath, TokenLogps
from dpo_core.training.passes.plain_path import PlainPath
from dpo_core.training.runtime import Runtime, attention_for

NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}

VALUES = {torch.float32: 1e-5, torch.bfloat16: 1e-2}
GRADIENTS = {torch.float32: 2e-5, torch.bfloat16: 2e-2}
"""Of attention, relative to the largest value: float32 rounds by 6e-8 and sums up to 1,000 terms,
bfloat16 rounds the scores' softmax and the result by 4e-3 each."""

SAME_GRADIENTS = 1e-4
"""Norm of the difference of two float32 gradients of a model, relative to theirs."""

NO_WORSE = 1.5
"""In bfloat16 no two passes agree; the fast one may be so much farther from float32 than the plain
one is, by the root of the mean square."""

LONG_ROW = 2**15

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


# ── attention ────────────────────────────────────────────────────────────────────────────────────


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
        return f"{NAMES[self.dtype]}{shared}{window}{', soft cap' if self.cap else ''}"


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
    if "flex" in kernels(bench):
        with bench.trying("rows of other lengths"), only("flex"):
            _count_kernels(bench)
            _measure_blocks(bench)


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


SEGMENTS = (Segment(0, 9, 5, 7), Segment(21, 3, 4, 0), Segment(28, 1, 6, 2))
"""(start, prompt, chosen, rejected) of three pairs in a row of 37 tokens."""


def _longer(segment: Segment, times: int) -> Segment:
    """So many times the tokens: for a GPU a row of 37 is one block."""
    return Segment(
        times * segment.start,
        times * segment.prompt,
        times * segment.chosen,
        times * segment.rejected,
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
        prompt, rejected = range(s.start, s.start + s.prompt), range(s.fork, s.end)
        for sequence in (range(s.start, s.fork), [*prompt, *rejected]):
            places = torch.tensor(list(sequence))
            sees = torch.ones(len(places), len(places), dtype=torch.bool).tril()
            if window is not None:
                sees &= ~sees.tril(-window)
            seen[places[:, None], places] = sees
    return seen


def relative(found: Tensor, expected: Tensor) -> float:
    """Largest difference, relative to the largest value."""
    exact = expected.detach().double()
    return float((found.detach().double() - exact).abs().max() / exact.abs().max())


def _measure_blocks(bench: Bench) -> None:
    """Which blocks of a long row anybody sees is found out token by token, once per row."""
    segments, device = [Segment(0, 512, 256, 256)], torch.device(bench.device)
    while segments[-1].end < LONG_ROW:
        segments.append(Segment(segments[-1].end, 512, 256, 256))
    torch.cuda.reset_peak_memory_stats()
    started, before = side.now(), torch.cuda.memory_allocated()
    flex_segments.blocks(segments, None, device)
    bench.figure(f"blocks of {LONG_ROW:,} tokens", side.now() - started, "s")
    added = (torch.cuda.max_memory_allocated() - before) / 2**30
    bench.figure(f"blocks of {LONG_ROW:,} tokens: memory", added, "GiB")


def _count_kernels(bench: Bench) -> None:
    from torch._dynamo.utils import counters

    before = counters["stats"]["unique_graphs"]
    for number in range(ROWS):
        case = Case(torch.bfloat16, window=100 if number % 3 else None)
        segments = [Segment(0, 50 + 37 * number, 40, 30)]
        for _ in range(number % 4):
            segments.append(Segment(segments[-1].end, 20, 30 + number, 25))
        given = _heads(segments, case, bench.device)
        with torch.no_grad():
            _asked(given, segments, case, bench.device)
        _asked(given, segments, case, bench.device).sum().backward()
    found = counters["stats"]["unique_graphs"] - before
    bench.at_most(f"flex: kernels for {ROWS} rows", found, KERNELS_OF_ROWS)
    bench.at_least("flex: kernels, at least", found, 1)


# ── the fast pass ────────────────────────────────────────────────────────────────────────────────


VOCABULARY = 997
_SMALL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 1024,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_TINY = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "initializer_range": 0.3,
}
_MIDDLE = {
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "initializer_range": 0.1,
}
"""Their weights are so wide that a wrong mask moves log-probs by far."""

_ARCHITECTURES: Mapping[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {}),
    "qwen2, tied": ("Qwen2Config", {"tie_word_embeddings": True}),
    "mistral, window": ("MistralConfig", {"sliding_window": 5}),
    "gemma2, window and soft caps": (
        "Gemma2Config",
        {
            "sliding_window": 5,
            "attn_logit_softcapping": 5.0,
            "final_logit_softcapping": 4.0,
            "query_pre_attn_scalar": 8,
        },
    ),
}


@dataclass(frozen=True)
class Found:
    """What a pass finds: log-probs (N,) and the gradients of a weighted sum of them, as one row."""

    logps_N: Tensor
    gradients: Tensor


def fast_pass(bench: Bench) -> None:
    """Log-probs and gradients of both passes, for models of each kind, by each kernel."""
    pairs = random_pairs(6, 15 if bench.tiny else 200)
    for architecture in _ARCHITECTURES:
        with bench.trying(architecture):
            exact, rough = (
                through(bench, architecture, pairs, dtype)
                for dtype in (torch.float32, torch.bfloat16)
            )
            for kernel in kernels(bench):
                with bench.trying(f"{architecture}, {kernel}"), only(kernel):
                    _compare_passes(bench, architecture, kernel, pairs, exact, rough)


def _compare_passes(
    bench: Bench,
    architecture: str,
    kernel: str,
    pairs: Sequence[TrainingPair],
    exact: Found,
    rough: Found,
) -> None:
    """exact, rough: what the plain pass finds in float32 and in bfloat16."""
    what = f"{architecture}, {kernel}"
    found = through(bench, architecture, pairs, torch.float32, fast=True)
    bound = AGREEMENT[torch.float32]
    bench.at_most(f"{what}, float32: log-probs, nats", farthest(found, exact), bound)
    distance = float((found.gradients - exact.gradients).norm() / exact.gradients.norm())
    bench.at_most(f"{what}, float32: gradients", distance, SAME_GRADIENTS)
    found, bound = through(bench, architecture, pairs, torch.bfloat16, fast=True), NO_WORSE
    allowed = AGREEMENT[torch.bfloat16]
    bench.at_most(f"{what}, bfloat16: log-probs, nats", farthest(found, rough), allowed)
    errors = [float((one.logps_N - exact.logps_N).norm()) for one in (found, rough)]
    bench.at_most(f"{what}, bfloat16: log-probs' error over plain", errors[0] / errors[1], bound)
    errors = [float((one.gradients - exact.gradients).norm()) for one in (found, rough)]
    bench.at_most(f"{what}, bfloat16: gradients' error over plain", errors[0] / errors[1], bound)


def farthest(found: Found, expected: Found) -> float:
    """Largest difference of a log-prob, nats."""
    return float((found.logps_N - expected.logps_N).abs().max())


def random_pairs(count: int, longest: int) -> list[TrainingPair]:
    chosen = random.Random(0)

    def ids() -> list[int]:
        return [chosen.randrange(3, VOCABULARY) for _ in range(chosen.randint(1, longest))]

    return [TrainingPair(str(i), ids(), ids(), ids()) for i in range(count)]


def build(bench: Bench, architecture: str) -> Any:
    """A model with random weights, the same each time."""
    torch.manual_seed(0)
    name, own = _ARCHITECTURES[architecture]
    if "sliding_window" in own and not bench.tiny:
        own = own | {"sliding_window": 50}
    config = getattr(transformers, name)(**_SMALL | (_TINY if bench.tiny else _MIDDLE) | own)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention_for(config))
    return model.float().to(bench.device).eval()


def through(
    bench: Bench,
    architecture: str,
    pairs: Sequence[TrainingPair],
    dtype: torch.dtype,
    *,
    fast: bool = False,
) -> Found:
    """What a pass finds that computes in `dtype`."""
    model, runtime = build(bench, architecture), Runtime(torch.device(bench.device), dtype)
    path: PairPath = PlainPath(model, runtime)
    if fast:
        path = FastPath(model, runtime, head_rows=HEAD_ROWS)
    logps_N = path.logps(pairs).logps_N
    path.backward(pairs, _random_slopes(pairs, bench.device))
    gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return Found(logps_N.double(), torch.cat(gradients).double())


def _random_slopes(
    pairs: Sequence[TrainingPair], device: str
) -> Callable[[Sequence[TrainingPair], TokenLogps], Tensor]:
    generator = torch.Generator().manual_seed(1)
    by_id = {
        pair.pair_id: torch.randn(
            len(pair.chosen_ids) + len(pair.rejected_ids), generator=generator
        ).to(device)
        for pair in pairs
    }
    return lambda part, _: torch.cat([by_id[pair.pair_id] for pair in part])


# ── fused layers ─────────────────────────────────────────────────────────────────────────────────


def fused_layers(bench: Bench) -> None:
    """A model's outputs and gradients with and without them; they are of float32 alone."""
    model = build(bench, "llama")
    fused = FusedLayers(model)
    with fused.in_use():
        replaced = [m for m in model.modules() if "forward" in vars(m)]
        found = _outputs_and_gradients(model, bench.device)
    expected = _outputs_and_gradients(model, bench.device)
    layers = model.config.num_hidden_layers
    # Two norms and an MLP of each layer, and the last norm; the embedding on CPUs alone.
    bench.at_least("layers that are replaced", len(replaced), 3 * layers + 1)
    for what, one, other in zip(("logits", "gradients"), found, expected, strict=True):
        bench.at_most(what, relative(one, other), SAME_GRADIENTS)


def _outputs_and_gradients(model: Any, device: str) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(3, VOCABULARY, (2, 40), generator=generator).to(device)
    model.zero_grad()
    logits = model(ids).logits
    slopes = torch.randn(logits.shape, generator=generator).to(device)
    (logits * slopes).sum().backward()
    return logits.detach(), torch.cat([p.grad.flatten() for p in model.parameters()])
