"""Plots of the answers: scores, length, relevance, variety."""

from collections.abc import Iterator

from dpo_core.text import visible
from reporting.number_formats import SHARE, number_format
from reporting.numbers import base_number, measure_names
from reporting.plots.model import Plot, Point, Series, series_by_round
from reporting.summary import CampaignSummary


def answer_plots(summary: CampaignSummary) -> Iterator[Plot]:
    for name in measure_names(summary):
        if _is_the_score(summary, f"measure_{name}"):
            continue
        about = "Measured by the judge on the test prompts."
        yield _against_base(summary, f"measure_{name}", _title(name), about, "share")
    for name, title, about, unit in (
        ("score_mean", "Score", "Mean score of the judge on the test prompts.", "score"),
        (
            "training_score_mean",
            "Score of the training judge",
            "Mean score of the judge of the training data, on the same answers. If only this score "
            "rises, the policy is over-optimised.",
            "score",
        ),
        ("length_mean", "Length", "Mean length of the answers, EOS included.", "tokens"),
        ("truncated_share", "Truncated", "Answers truncated at the length limit.", "share"),
        (
            "relevance",
            "Relevance",
            "Answers whose prompt the base's log-probs single out, and that are no copies. If it "
            "falls, answers fit any prompt.",
            "share",
        ),
        (
            "base_nats_per_token",
            "Nats per token under the base",
            "Of finished answers. High: text that the base would hardly write. Very low: copies or "
            "repetition.",
            "nats",
        ),
        (
            "refusal_share",
            "Refusals",
            "Answers that match a refusal pattern.",
            "share",
        ),
        (
            "repetition_share",
            "Repetition",
            "Mean share of an answer's word n-grams that it repeats.",
            "share",
        ),
    ):
        yield _against_base(summary, name, title, about, unit)
    names = {"distinct_1": "words", "distinct_2": "pairs of words"}
    yield Plot(
        "Variety",
        "Distinct words, and word pairs, as a share of all in the answers. If it falls, answers "
        "become alike.",
        "share",
        SHARE,
        series_by_round(summary, names),
    )


def _is_the_score(summary: CampaignSummary, name: str) -> bool:
    """Whether a measure is the judge's score by another name, which is drawn already."""
    return all(row.number(name) == row.score_mean for row in summary.rounds)


def _title(name: str) -> str:
    words = visible(name).replace("_", " ")
    return words[:1].upper() + words[1:]


def _against_base(summary: CampaignSummary, name: str, title: str, about: str, unit: str) -> Plot:
    level = base_number(summary, name)
    series = series_by_round(summary, {name: "policy"})
    if series and level is not None:
        series = (Series("policy", (Point("base", level), *series[0].points)),)
    form = number_format(name)
    return Plot(title, about, unit, form, series, level, "base" if level is not None else "")
