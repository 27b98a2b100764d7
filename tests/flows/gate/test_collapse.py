"""Policies that have collapsed and whose judge is delighted: none is promoted."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

import pytest
from small_campaign import Campaign
from synthetic import Synthetic, measured

from dpo_core.gate.config import GateConfig
from dpo_core.gate.decision import Best, Decision, decide
from dpo_core.records import Prompt
from examples.reviews.grammar import generate
from flows.config.defaults import earlier_defaults

UNCHECKED = {
    key.removeprefix("gate."): old
    for key, old in earlier_defaults(1).items()
    if key.startswith("gate.")
}
"""The gate of campaigns from before there were checks of what answers are like."""

N = 64


def decided(numbers: dict[str, Any], **gate: Any) -> Decision:
    config, row = GateConfig.model_validate(gate), measured(numbers)
    return decide(row, config, previous=0, best=Best(0, 0.5))


def failed(found: Decision) -> set[str]:
    return {check.name for check in found.checks if not check.passed}


def test_a_learning_rate_of_100_under_a_judge_of_short_answers(
    finished: Campaign, tmp_path: Path
) -> None:
    """The real thing: it has forgotten language. What it says instead is a lottery: most often
    nothing, or a token or two, which is what the judge likes best."""
    campaign = finished.copied(tmp_path / "copy")
    settings = ("rounds=1", "training.learning_rate=100", "gate.use=lower")
    # The whole round is one step: a second one meets gradients that are not finite.
    settings += ("prompts.per_round=256", "training.pairs_per_step=256")
    done = campaign.run(*(part for one in settings for part in ("--set", one)))
    assert done.returncode == 0, done.stderr + done.stdout
    row = json.loads(campaign.artifact(1, "gate").path("metrics.json").read_text("utf-8"))
    assert not row["promoted"] and row["gate"]["action"] == "keep"
    # Whatever was drawn, with the win rate that such a policy was seen to have: 100 % [89, 100].
    won = {**row, "win_rate_gate": 1.0, "win_rate_gate_low": 0.89}
    assert decided(won, **UNCHECKED).promoted, "as it was"
    assert failed(decided(won)) >= {"kl_base_nats"}
    assert len(failed(decided(won))) > 1, "length, truncation, repetition or emptiness, too"


@dataclass(frozen=True)
class Base:
    """A real base policy, and texts: prompts of the grammar with what is usually answered."""

    prompts: Sequence[Prompt]
    answers: dict[str, str]
    distance: Callable[[dict[str, str]], float]
    """KL from a policy that gives just these answers, in nats per answer."""


@pytest.fixture(scope="module")
def base(finished: Campaign) -> Base:
    from generation.config import SamplingConfig
    from generation.sampling import load_tokenizer
    from generation.transformers_engine import TransformersEngine

    random = Random(0)
    reviews = [generate(random) for _ in range(2 * N)]
    prompts = [
        Prompt(f"p{n}", text=text, split="gate" if n < N else "test")
        for n, (text, _) in enumerate(reviews)
    ]
    folder = finished.artifact(0, "base").path("policy")
    engine = TransformersEngine(SamplingConfig(engine="transformers"), folder)
    tokenizer = load_tokenizer(folder)

    def distance(answers: dict[str, str]) -> float:
        """Its own log-probs are 0: it never says anything else."""
        asked = [tokenizer(p.text)["input_ids"] for p in prompts]
        said = [[*tokenizer(t)["input_ids"], tokenizer.eos_token_id] for t in answers.values()]
        return -fmean(engine.logps(asked, said))

    return Base(prompts, {f"p{n}": answer for n, (_, answer) in enumerate(reviews)}, distance)


def played(base: Base, root: Path, judge: str, answers: dict[str, str]) -> dict[str, Any]:
    """The numbers of a policy that answers so, by a judge that it pleases; it wins."""
    campaign = Synthetic(
        root, base.prompts, base.answers, judge={"function": f"told_by_text:{judge}"}
    )
    numbers = campaign.play(answers, logratio=base.distance(answers))
    assert numbers["win_rate_gate"] > 0.9
    assert decided(numbers, **UNCHECKED).promoted
    return numbers


def test_a_length_hacker(base: Base, tmp_path: Path) -> None:
    """It says what the base says, and says it all again, in other words each time."""
    random = Random(1)
    longer = {
        key: " ".join([text, *(generate(random)[1] for _ in range(3))])
        for key, text in base.answers.items()
    }
    numbers = played(base, tmp_path, "length", longer)
    assert failed(decided(numbers)) >= {"length_to_previous", "length_to_base"}
    assert failed(decided(numbers, kl_budget=None)) == {"length_to_previous", "length_to_base"}


def test_a_copier_of_the_prompt(base: Base, tmp_path: Path) -> None:
    """Well written and of many words: only the base would not say it."""
    copies = {prompt.prompt_id: prompt.text or "" for prompt in base.prompts}
    numbers = played(base, tmp_path, "echo", copies)
    assert failed(decided(numbers)) >= {"kl_base_nats"}
    assert failed(decided(numbers, length=None)) == {"kl_base_nats"}, "however long prompts are"


def test_a_repeater_of_one_token(base: Base, tmp_path: Path) -> None:
    """As long as the base's answers; a token that is no word to those who count words."""
    for word in ("lovely", "."):
        same = {key: " ".join([word] * len(t.split())) for key, t in base.answers.items()}
        numbers = played(base, tmp_path / word.strip("."), "repeats", same)
        assert failed(decided(numbers)) == {"kl_base_nats", "repetition_rise"}
        assert failed(decided(numbers, kl_budget=None)) == {"repetition_rise"}
    assert numbers["repetition_share"] is None, "in words nothing is repeated"
