"""Held-out prompts that share words with those trained on. The same prompt is never in both: that
is decided by its hash."""

from typing import Any

from dpo_core.campaign.inputs import Inputs
from dpo_core.campaign.store import Artifact
from dpo_core.evaluation.overlap import overlap
from flows.policy import Preferred
from flows.read_back import read_prompts

EXAMPLES = 10


def overlapping(inputs: Inputs, ngram: int) -> dict[str, Any]:
    """How many held-out prompts share a run of `ngram` words with a training prompt of the round;
    `examples` are ids of some. See dpo_core.evaluation.overlap for short prompts and templates."""
    asked, trained = (read_prompts(inputs.path(n)) for n in ("held_out", "training_prompts"))
    held = {prompt_id: prompt.shown() for prompt_id, prompt in asked.items()}
    training = (prompt.shown() for prompt in trained.values())
    found = overlap(held, training, ngram)
    return {
        "prompts": len(found.prompts),
        "of": found.of,
        "ngram": found.ngram,
        "examples": list(found.prompts[:EXAMPLES]),
    }


def trained_on(own: Preferred) -> Artifact:
    """The step with the round's training prompts; an import holds its own."""
    return own.prompts or own.completions
