"""The plain forward pass over pairs: whole sequences, padded, one model call.

B = 2·pair sequences, T positions, K of them from the first that predicts a completion token on,
V vocabulary.
"""

import inspect
from typing import Any

from dpo_core.preference.pair_logps import PairLogps, completion_logps
from dpo_core.training.batching import PairBatch


def pair_logps(model: Any, batch: PairBatch) -> PairLogps:
    """Log-probs of the batch's completions under a causal language model of transformers."""
    first = batch.first_prediction
    logps_B = completion_logps(
        _logits_from(model, batch, first),
        batch.input_ids_BT[:, first:],
        batch.completion_mask_BT[:, first:],
    )
    pairs = len(batch.chosen_lengths)
    return PairLogps(
        chosen=logps_B[:pairs],
        rejected=logps_B[pairs:],
        chosen_lengths=batch.chosen_lengths,
        rejected_lengths=batch.rejected_lengths,
    )


def _logits_from(model: Any, batch: PairBatch, first: int) -> Any:
    """(B, K, V) logits; the head skips the positions before `first` where the model can do that."""
    kept = batch.input_ids_BT.shape[1] - first
    inputs = {"input_ids": batch.input_ids_BT, "attention_mask": batch.attention_mask_BT}
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        return model(**inputs, use_cache=False, logits_to_keep=kept).logits
    return model(**inputs, use_cache=False).logits[:, first:]
