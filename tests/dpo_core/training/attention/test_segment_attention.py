"""The kernels of attention within packed pairs compute one function."""

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters
from torch.nn.attention.flex_attention import create_block_mask, create_mask, flex_attention
from transformers import PretrainedConfig
from transformers.masking_utils import (
    create_bidirectional_mask,
    create_causal_mask,
    create_chunked_causal_mask,
    create_sliding_window_causal_mask,
)

from dpo_core.training.attention import flex_segments
from dpo_core.training.attention.batched_segments import batched_segments, batches
from dpo_core.training.attention.dense_segments import DenseSegments
from dpo_core.training.attention.flash_segments import FlashSegments
from dpo_core.training.attention.segment_attention import (
    NAME,
    Window,
    attending,
    segment_attention,
)
from dpo_core.training.attention.sliced_segments import sliced_segments
from dpo_core.training.passes.packing import Segment

CPU = torch.device("cpu")
SEGMENTS = (Segment(0, 9, (5, 7)), Segment(21, 3, (4, 0)), Segment(28, 1, (2, 0, 4, 2)))
TOKENS = SEGMENTS[-1].end
HEADS, KEY_HEADS, WIDTH = 4, 2, 8


def seen_by_hand(window: int | None) -> Tensor:
    """(T, T) true where a token sees another, said once more, token by token."""
    seen = torch.zeros(TOKENS, TOKENS, dtype=torch.bool)
    for s in SEGMENTS:
        prompt, start = list(range(s.start, s.start + s.prompt)), s.start + s.prompt
        for tokens in s.completions:
            sequence = [*prompt, *range(start, start + tokens)]
            start += tokens
            for i, query in enumerate(sequence):
                first = 0 if window is None else max(0, i - window + 1)
                seen[query, sequence[first : i + 1]] = True
    return seen


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Query, key, value as transformers hands them over: heads of one row of tokens."""
    generator = torch.Generator().manual_seed(0)

    def heads(count: int) -> Tensor:
        row = torch.randn(1, TOKENS, count, WIDTH, generator=generator, dtype=torch.float32)
        return row.transpose(1, 2).requires_grad_()

    return heads(HEADS), heads(KEY_HEADS), heads(KEY_HEADS)


def dense(query: Tensor, key: Tensor, value: Tensor, window: int | None = None) -> Tensor:
    """The same in float64, with a mask of all the row."""
    key, value = (x.repeat_interleave(HEADS // KEY_HEADS, 1).double() for x in (key, value))
    mask = seen_by_hand(window)
    return torch.nn.functional.scaled_dot_product_attention(
        query.double(), key, value, attn_mask=mask, scale=0.3
    )


def check(found: Tensor, given: tuple[Tensor, ...], window: int | None = None) -> None:
    """Values and gradients are those of the dense form."""
    expected = dense(*given, window=window)
    slopes = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=2e-6)
    ours = torch.autograd.grad(found, given, slopes)
    theirs = torch.autograd.grad(expected, given, slopes.double())
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our, their, rtol=0, atol=5e-6)


def test_the_flash_kernel_joins_what_a_completion_after_the_first_sees() -> None:
    given = inputs()
    check(FlashSegments.apply(*given, SEGMENTS, 0.3), given)


def test_dense_products_of_short_pairs_in_float32() -> None:
    given = inputs()
    check(DenseSegments.apply(*given, SEGMENTS, 0.3), given)


def test_short_pairs_are_as_exact_in_bfloat16_as_by_the_flash_kernel() -> None:
    query, key, value = inputs()
    narrow = value.detach().bfloat16().requires_grad_()
    expected = dense(query, key, narrow)
    slopes = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    given = query, key, narrow
    exact = [expected, *torch.autograd.grad(expected, given, slopes.double())]
    with attending(SEGMENTS, CPU), torch.autocast("cpu", torch.bfloat16):
        out = segment_attention(None, *given, Window(None, True), scaling=0.3)[0].transpose(1, 2)
    ours = [out, *torch.autograd.grad(out, given, slopes.bfloat16())]
    usual = [x.detach().bfloat16().requires_grad_() for x in given]
    found = FlashSegments.apply(*usual, SEGMENTS, 0.3)
    theirs = [found, *torch.autograd.grad(found, usual, slopes.bfloat16())]
    assert out.dtype == torch.bfloat16 and not torch.equal(out, found)
    for our, their, right in zip(ours, theirs, exact, strict=True):
        assert (our - right).abs().mean() <= 1.5 * (their - right).abs().mean()


@pytest.mark.parametrize("window", [None, 4])
def test_slices_of_the_row(window: int | None) -> None:
    given = inputs()
    with attending(SEGMENTS, CPU):
        out, _ = segment_attention(None, *given, Window(window, True), scaling=0.3)
    check(out.transpose(1, 2), given, window)


def test_threads_of_autograd_attend_in_the_row_that_is_trained_on() -> None:
    """On a GPU they compute checkpointed layers again."""
    given = inputs()

    def attend() -> Tensor:
        return segment_attention(None, *given, Window(None, True), scaling=0.3)[0]

    with ThreadPoolExecutor(1) as other:
        with attending(SEGMENTS, CPU):
            torch.testing.assert_close(other.submit(attend).result(), attend(), rtol=0, atol=0)
        with attending(SEGMENTS, CPU, frozen=True):
            attend()
            with pytest.raises(AssertionError, match="needs `attending`"):
                other.submit(attend).result()  # a frozen pass is its own thread's alone


@pytest.mark.parametrize("softcap", [None, 0.5])
@pytest.mark.parametrize("window", [None, 4])
def test_a_few_products_for_each_prompt(window: int | None, softcap: float | None) -> None:
    given = [x.detach() for x in inputs()]
    there = batches(SEGMENTS, window, torch.float32)
    out = batched_segments(*given, there, scale=0.3, softcap=softcap)
    with attending(SEGMENTS, CPU):
        options = {"scaling": 0.3, "softcap": softcap}
        expected, _ = segment_attention(None, *given, Window(window, True), **options)
    torch.testing.assert_close(out, expected.transpose(1, 2), rtol=0, atol=2e-6)
    rounded = [x.bfloat16() for x in given]
    with attending(SEGMENTS, CPU, frozen=True):
        ours, _ = segment_attention(None, *rounded, Window(window, True), **options)
    torch.testing.assert_close(ours.transpose(1, 2).float(), out, rtol=0, atol=5e-2)


def test_slices_take_what_the_flash_kernel_takes() -> None:
    given = inputs()

    def mask(queries: int, keys: int, _: int | None) -> Tensor:
        return torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)

    out = sliced_segments(*given, SEGMENTS, mask, scale=0.3, window=None, softcap=None)
    check(out, given)


@pytest.mark.parametrize("window", [None, 4])
def test_flex_attention_sees_the_same_tokens(window: int | None) -> None:
    sees = flex_segments.visibility(SEGMENTS, window, CPU)
    found = create_mask(sees, None, None, TOKENS, TOKENS, device="cpu")[0, 0]
    assert torch.equal(found, seen_by_hand(window))


LONG = (Segment(0, 300, (200, 150)), Segment(650, 300, (200, 0)), Segment(1150, 500, (400, 350)))


@pytest.mark.parametrize("window", [None, 4, 250])
@pytest.mark.parametrize("segments", [SEGMENTS, LONG], ids=["one block", "several strips"])
def test_blocks_are_those_that_torch_finds_at_once(
    segments: tuple[Segment, ...], window: int | None
) -> None:
    tokens, found = segments[-1].end, flex_segments.blocks(segments, window, CPU)
    sees = flex_segments.visibility(segments, window, CPU)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = create_block_mask(sees, None, None, tokens, tokens, device="cpu")
    assert found.seq_lengths == expected.seq_lengths and found.BLOCK_SIZE == expected.BLOCK_SIZE
    names = [f"{full}{side}_{what}" for full in ("", "full_") for side in ("kv", "q")
             for what in ("num_blocks", "indices")]  # fmt: skip
    for name in names:
        assert torch.equal(getattr(found, name), getattr(expected, name)), name


def test_flex_attention_is_compiled_once_for_rows_of_any_shape_and_window(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Torch says what it would compile anew before a kernel is made, so no GPU is needed."""
    torch.compiler.reset()
    compiled = torch.compile(flex_attention, dynamic=True, backend="eager")
    monkeypatch.setattr(flex_segments, "_compiled", lambda: compiled)
    before = counters["stats"]["unique_graphs"]
    rows = (Segment(0, 90, (40, 30)),), (Segment(0, 70, (50, 40)), Segment(160, 20, (30, 9)))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for segments in rows:
            given = [torch.randn(1, count, segments[-1].end, WIDTH) for count in (4, 2, 2)]
            for window in (None, 50):
                blocks = flex_segments.blocks(segments, window, CPU)
                flex_segments.flex_segments(*given, blocks, scale=0.3, softcap=None)
    assert counters["stats"]["unique_graphs"] - before == 1


def test_flex_attention_computes_the_same_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU its kernel cannot be compiled; its slow form says whether it is asked right."""
    monkeypatch.setattr(flex_segments, "_compiled", lambda: flex_attention)
    given = [x.detach() for x in inputs()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        blocks = flex_segments.blocks(SEGMENTS, None, CPU)
        out = flex_segments.flex_segments(*given, blocks, scale=0.3, softcap=None)
    torch.testing.assert_close(out.double(), dense(*given), rtol=0, atol=2e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        capped = flex_segments.flex_segments(*given, blocks, scale=0.3, softcap=0.5)
    with attending(SEGMENTS, CPU):
        expected, _ = segment_attention(None, *given, Window(None, True), scaling=0.3, softcap=0.5)
    torch.testing.assert_close(capped, expected.transpose(1, 2), rtol=0, atol=2e-6)


def attended(given: tuple[Tensor, ...], make: Callable[..., Any], **options: Any) -> Tensor:
    """Attention as a model asks for it: the mask of a row without padding first, then the layer."""
    config = PretrainedConfig(attn_implementation=NAME, sliding_window=4, attention_chunk_size=4)
    arguments = {"attention_mask": None, "past_key_values": None}
    with attending(SEGMENTS, CPU):
        mask = make(config, inputs_embeds=torch.zeros(1, TOKENS, 4), **arguments)
        out, _ = segment_attention(None, *given, mask, scaling=0.3, **options)
    return out.transpose(1, 2)


def test_the_window_is_the_one_of_the_mask_whatever_the_layer_says() -> None:
    given = inputs()
    check(attended(given, create_causal_mask, sliding_window=2), given)
    given = inputs()
    check(attended(given, create_sliding_window_causal_mask), given, window=4)


def every_other(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
    return (query - key) % 2 == 0


@pytest.mark.parametrize(
    ("make", "options", "why"),
    [
        (create_chunked_causal_mask, {}, "neither causal nor a sliding window"),
        (create_bidirectional_mask, {}, "neither causal nor a sliding window"),
        (partial(create_causal_mask, and_mask_function=every_other), {}, "neither causal nor"),
        (lambda *_, **__: torch.ones(1, 1, TOKENS, TOKENS), {}, "a mask that transformers makes"),
        (lambda *_, **__: None, {}, "a mask that transformers makes"),
        (create_causal_mask, {"s_aux": torch.zeros(4)}, "its attention takes s_aux"),
        (create_causal_mask, {"is_causal": False}, "not causal"),
    ],
)
def test_what_is_not_known_is_refused(
    make: Callable[..., Any], options: dict[str, Any], why: str
) -> None:
    with pytest.raises(NotImplementedError, match=why):
        attended(inputs(), make, **options)


def test_a_mask_that_no_layer_uses_is_not_refused() -> None:
    def both(*config: Any, **arguments: Any) -> Any:
        create_chunked_causal_mask(*config, **arguments)
        return create_causal_mask(*config, **arguments)

    given = inputs()
    check(attended(given, both), given)
