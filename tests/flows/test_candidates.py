"""The pairs of a real round as candidates for people."""

import pyarrow.parquet as pq
import pytest
from small_campaign import Campaign

from flows.steps.candidates import read_candidates


def test_candidates_know_margin_verdicts_and_the_policys_uncertainty(finished: Campaign) -> None:
    pairs, judgements, completions = (
        finished.artifact(1, step) for step in ("pairs", "judgements", "completions")
    )
    found = read_candidates(pairs, judgements, completions)
    rows = pq.read_table(pairs.path("pairs.parquet")).to_pylist()
    assert [c.pair_id for c in found] == [row["pair_id"] for row in rows]
    assert [c.margin for c in found] == [row["margin"] for row in rows]
    said = pq.read_table(judgements.path("judgements.parquet")).to_pylist()
    assert [j.verdict for c in found for j in c.judgements] == [row["verdict"] for row in said]
    table = pq.read_table(completions.path("completions.parquet")).to_pylist()
    means = {r["completion_id"]: sum(r["token_logps"]) / len(r["token_logps"]) for r in table}
    expected = [-(means[row["a"]] + means[row["b"]]) / 2 for row in rows]
    assert [c.uncertainty for c in found] == pytest.approx(expected)
    assert all(c.judgements == () for c in read_candidates(pairs, None, completions))
