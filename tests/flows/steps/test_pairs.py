"""The pairs of a real round: made by every strategy, and as candidates for people."""

import io
from typing import Any, get_args

import pyarrow.parquet as pq
import pytest
from rich.console import Console
from small_campaign import CONFIG, Campaign

from dpo_core.campaign.artifacts import Artifact
from flows.config import validate
from flows.read_records import read_candidates
from flows.round_state import DrawnAnswers
from flows.session import Session
from flows.steps.pairs import select_pairs
from labeling.pairs.config import StrategyName
from reporting.progress import CampaignProgress


def paired(campaign: Campaign, said: io.StringIO | None = None, **pairs: Any) -> Artifact:
    """Round 1's pairs as another config makes them; `said` gets what is shown meanwhile."""
    config = validate({**CONFIG, "pairs": pairs}, "test")
    made = DrawnAnswers(
        *(campaign.artifact(1, step) for step in ("prompts", "completions", "scores"))
    )
    with (
        CampaignProgress(Console(file=said or io.StringIO()), 2) as progress,
        Session.open(campaign.layout.root, config, progress) as session,
    ):
        return select_pairs(session, 1, made)


def test_few_prompts_that_can_give_a_pair_are_said(copy: Campaign) -> None:
    """No two answers of at most 24 tokens differ by 1,000 in length, by which they are scored."""
    few, many = io.StringIO(), io.StringIO()
    paired(copy, few, min_margin=1000.0)
    assert "! round 1: 0 of 24 prompts can give a pair" in few.getvalue()
    paired(copy, many, min_margin=0.25)
    assert "can give a pair" not in many.getvalue()


@pytest.mark.parametrize("strategy", get_args(StrategyName))
def test_every_prompt_or_every_two_answers_are_accounted_for(
    copy: Campaign, strategy: StrategyName
) -> None:
    options = {"margin_per_token": 0.1} if strategy == "length_aware" else {}
    entry = paired(copy, strategy=strategy, **options).entry
    # 24 prompts of 4 answers, which are 6 pairs each.
    assert entry.came_in == (24 * 6 if strategy == "all_over_margin" else 24)
    assert entry.came_in == entry.kept + sum(entry.dropped.values())
    assert entry.kept > 0
    prompts = entry.facts["prompts_with_pairs"], entry.facts["prompts_without_pairs"]
    assert sum(prompts) == 24 and 0 < prompts[0] <= entry.kept


def test_no_prompt_has_more_pairs_than_allowed(copy: Campaign) -> None:
    made = paired(copy, strategy="all_over_margin", max_per_prompt=2)
    rows = pq.read_table(made.path("pairs.parquet")).to_pylist()
    prompts = [row["prompt_id"] for row in rows]
    assert max(map(prompts.count, prompts)) == 2
    assert made.entry.dropped["over_max_per_prompt"] > 0
    assert {row["rule"] for row in rows} == {"all_over_margin"}


def test_candidates_know_margin_verdicts_and_the_policys_uncertainty(finished: Campaign) -> None:
    pairs, judgements, completions = (
        finished.artifact(1, step) for step in ("pairs", "judgements", "completions")
    )
    files = {
        name: artifact.path(f"{name}.parquet")
        for name, artifact in {
            "pairs": pairs,
            "judgements": judgements,
            "completions": completions,
        }.items()
    }
    found = read_candidates(**files)
    rows = pq.read_table(pairs.path("pairs.parquet")).to_pylist()
    assert [c.pair_id for c in found] == [row["pair_id"] for row in rows]
    assert [c.margin for c in found] == [row["margin"] for row in rows]
    said = pq.read_table(judgements.path("judgements.parquet")).to_pylist()
    assert [j.verdict for c in found for j in c.judgements] == [row["verdict"] for row in said]
    table = pq.read_table(completions.path("completions.parquet")).to_pylist()
    means = {r["completion_id"]: sum(r["token_logps"]) / len(r["token_logps"]) for r in table}
    expected = [-(means[row["a"]] + means[row["b"]]) / 2 for row in rows]
    assert [c.uncertainty for c in found] == pytest.approx(expected)
    assert all(c.judgements == () for c in read_candidates(**{**files, "judgements": None}))
