"""Plots of what answers are like."""

from collections.abc import Iterator

from dpo_core.text import visible
from reporting.numbers import base_number, measure_names
from reporting.plots.model import DECIMAL, PERCENT, Plot, Point, Series, series_by_round
from reporting.summary import CampaignSummary


def answer_plots(summary: CampaignSummary) -> Iterator[Plot]:
    """What the judge measured of the answers, how long they are, how they are written."""
    for name in measure_names(summary):
        about = "Measured by the judge on the test prompts."
        yield _against_base(summary, f"measure_{name}", _title(name), about, "share", PERCENT)
    for name, title, about, unit, form in (
        ("score_mean", "Score", "Mean score of the judge on the test prompts.", "score", DECIMAL),
        (
            "training_score_mean",
            "Score of the training judge",
            "Of the judge that made the training data, on the same answers. Up while the "
            "evaluation judge is not: over-optimised.",
            "score",
            DECIMAL,
        ),
        ("length_mean", "Length", "Mean length of the answers, EOS included.", "tokens", DECIMAL),
        ("truncated_share", "Truncated", "Answers cut at the length limit.", "share", ".1%"),
        (
            "relevance",
            "Relevance",
            "Answers whose request, among a few, the base finds by its log-probs, and that are no "
            "copies. Falling: answers that fit any request.",
            "share",
            ".1%",
        ),
        (
            "base_nats_per_token",
            "Nats per token under the base",
            "Of finished answers. Up: the base would hardly write so. Far down: copies, or the "
            "same again.",
            "nats",
            DECIMAL,
        ),
        (
            "refusal_share",
            "Refusals",
            "Answers that match the pattern of a refusal.",
            "share",
            ".1%",
        ),
        (
            "repetition_share",
            "Repetition",
            "Share of an answer's word sequences that it repeats, mean.",
            "share",
            ".1%",
        ),
    ):
        yield _against_base(summary, name, title, about, unit, form)
    names = {"distinct_1": "words", "distinct_2": "pairs of words"}
    yield Plot(
        "Variety",
        "Distinct words, and pairs of neighbouring words, as a share of all in the answers. "
        "Falling: answers become alike.",
        "share",
        PERCENT,
        series_by_round(summary, names),
    )


def _title(name: str) -> str:
    words = visible(name).replace("_", " ")
    return words[:1].upper() + words[1:]


def _against_base(
    summary: CampaignSummary, name: str, title: str, about: str, unit: str, form: str
) -> Plot:
    level = base_number(summary, name)
    found = series_by_round(summary, {name: "policy"})
    if found and level is not None:
        found = (Series("policy", (Point("base", level), *found[0].points)),)
    return Plot(title, about, unit, form, found, level, "base" if level is not None else "")
