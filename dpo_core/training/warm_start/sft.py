"""Supervised warm start of the base policy: loss on completions only.

B sequences of a batch, T positions, V vocabulary, N completion tokens of the batch.
"""

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from dpo_core.children import Report
from dpo_core.config import SftConfig
from dpo_core.errors import InvariantViolated
from dpo_core.preference.pair_logps import completion_token_logps
from dpo_core.tables import batched
from dpo_core.training.metrics.curves import SftCurveRow
from dpo_core.training.optimiser import learning_rate_factor, make_optimiser, set_learning_rate
from dpo_core.training.pairs.batching import pad_sequences
from dpo_core.training.passes.rope_lengths import RopeLengths
from dpo_core.training.runtime import Runtime
from dpo_core.training.warm_start.sft_examples import Example

_BATCHES_PER_BUCKET = 4
"""More would save little padding, and answers of the same length may be alike."""

_MAX_GRAD_NORM = 1.0
_FINAL_RATE = 0.1


def fine_tune(
    model: Any,
    examples: Sequence[Example],
    config: SftConfig,
    seed: int,
    runtime: Runtime,
    report: Report,
) -> list[SftCurveRow]:
    """Train `model` in place with AdamW. Returns one row per step.

    After the warm-up the learning rate falls linearly to a tenth. The loss is the mean over the
    batch's completion tokens, nats. Raises InvariantViolated when it is not finite.
    """
    optimiser = make_optimiser(model.parameters(), config.learning_rate)
    curve: list[SftCurveRow] = []
    lengths = [example.length for example in examples]
    for step, indices in enumerate(batches(lengths, config.batch_size, config.steps, seed)):
        started = time.monotonic()
        learning_rate = config.learning_rate * learning_rate_factor(
            step,
            config.steps,
            warmup_steps=config.warmup_steps,
            schedule="linear",
            floor=_FINAL_RATE,
        )
        set_learning_rate(optimiser, learning_rate)
        batch = [examples[index] for index in indices]
        with runtime.autocast():
            logps_N = batch_logps(model, batch, runtime.device)
        loss = -logps_N.mean()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), _MAX_GRAD_NORM)
        if not math.isfinite(loss.item()):
            raise InvariantViolated(
                f"the warm start's loss is not finite at step {step + 1}",
                "Lower sft.learning_rate or raise sft.warmup_steps.",
            )
        optimiser.step()
        optimiser.zero_grad()
        curve.append(
            SftCurveRow(
                step=step + 1,
                loss=loss.item(),
                learning_rate=learning_rate,
                tokens=len(logps_N),
                seconds=time.monotonic() - started,
            )
        )
        report(step + 1, config.steps, "steps, warm start")
    return curve


def batches(lengths: Sequence[int], batch_size: int, steps: int, seed: int) -> Iterator[list[int]]:
    """Yield the example indices of `steps` batches; every epoch uses each example once.

    Runs of randomly ordered examples are sorted by length and cut into batches, which are shuffled.
    Batches hold similar lengths, so they have little padding.
    """
    generator = torch.Generator().manual_seed(seed)
    yielded = 0
    while True:
        order: list[int] = torch.randperm(len(lengths), generator=generator).tolist()
        epoch: list[list[int]] = []
        for bucket in batched(order, batch_size * _BATCHES_PER_BUCKET):
            epoch += batched(sorted(bucket, key=lambda index: lengths[index]), batch_size)
        for position in torch.randperm(len(epoch), generator=generator).tolist():
            if yielded == steps:
                return
            yield epoch[position]
            yielded += 1


def batch_logps(model: Any, batch: Sequence[Example], device: torch.device) -> Tensor:
    """(N,) log-probs of the completion tokens, nats, example after example."""
    ids_BT, ends_B = pad_sequences(
        [example.prompt_ids + example.completion_ids for example in batch]
    )
    starts_B = torch.tensor([len(example.prompt_ids) for example in batch])
    position_T = torch.arange(ids_BT.shape[1])
    attention_BT = (position_T < ends_B[:, None]).to(device)
    completion_BT = attention_BT & (position_T >= starts_B[:, None]).to(device)
    ids_BT = ids_BT.to(device)
    with RopeLengths(model).for_lengths(ends_B.tolist()):
        logits_BTV = model(ids_BT, attention_mask=attention_BT.long(), use_cache=False).logits
    return completion_token_logps(logits_BTV, ids_BT, completion_BT)
