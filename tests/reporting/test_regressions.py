"""The biggest regressions, with the words that changed between two rounds' answers."""

import re
from dataclasses import replace

from demo_summary import HOSTILE, demo

from reporting.read.samples import SampledAnswer, SampleRow, SourceVerdict
from reporting.regressions import find_regressions
from reporting.report import render_report
from reporting.summary import CampaignSummary
from reporting.word_diff import WORDS, diff_words


def _row(prompt: str, *answers: tuple[str, float | None]) -> SampleRow:
    given = (
        SampledAnswer(number, text, score, "", "stop")
        for number, (text, score) in enumerate(answers)
    )
    return SampleRow(prompt, tuple(given), "held-out", prompt)


def _with(*rows: SampleRow) -> CampaignSummary:
    return replace(demo(), samples=rows)


def test_words_are_kept_deleted_or_inserted() -> None:
    parts = diff_words("The film was dull, and long.", "The film was fine, and rather long.")
    assert [(part.change, part.text) for part in parts] == [
        ("kept", "The film was "),
        ("deleted", "dull"),
        ("inserted", "fine"),
        ("kept", ", and "),
        ("inserted", "rather "),
        ("kept", "long."),
    ]
    for keep, text in (("deleted", "a\n b  c"), ("inserted", "b c d\n")):
        both = diff_words("a\n b  c", "b c d\n")
        said = "".join(part.text for part in both if part.change in ("kept", keep))
        assert said.split() == text.split()


def test_a_very_long_answer_is_compared_to_its_limit() -> None:
    long = "word " * (WORDS + 50)
    changes = [part.change for part in diff_words(long, long + "end")]
    assert changes == ["kept", "deleted", "inserted"]
    assert diff_words("", "") == ()


def test_the_worst_come_first_and_gains_are_left_out() -> None:
    four = [
        _row("better", *[("a", 0.1), ("b", 0.2), ("c", 0.3), ("d", 0.9)]),
        _row("worse", *[("a", 0.1), ("b", 0.2), ("good words", 0.5), ("bad words", 0.4)]),
        _row("worst", *[("a", 0.1), ("b", 0.2), ("c", 0.9), ("d", 0.1)]),
        _row("unscored", *[("a", None), ("b", None), ("c", None), ("d", None)]),
    ]
    found = find_regressions(_with(*four))
    assert found is not None
    assert (found.before, found.after, found.count, found.compared) == ("round 2", "round 3", 2, 4)
    assert [(one.prompt, one.loss) for one in found.worst] == [
        ("worst", "score 0.9 → 0.1"),
        ("worse", "score 0.5 → 0.4"),
    ]
    assert find_regressions(replace(demo(), rounds=())) is None
    assert find_regressions(_with()) is None


def test_a_lost_comparison_counts_where_nothing_is_scored() -> None:
    row = _row("lost", *[("a", None), ("b", None), ("c", None), ("d", None)])
    lost = SourceVerdict("evaluation", "lost against previous")
    last = replace(row.answers[-1], verdicts=(lost,))
    found = find_regressions(_with(replace(row, answers=(*row.answers[:-1], last))))
    assert found is not None and found.worst[0].loss == "lost against round 2"


def test_the_report_shows_them_one_click_from_its_first_screen() -> None:
    row = _row("p", *[("a", 0.1), ("b", 0.2), ("a fine film", 0.9), (f"a {HOSTILE[0]}", 0.1)])
    html = render_report(_with(row))
    first = html[html.index("<header>") : html.index("</header>")]
    assert '<a href="#regressions">' in first
    shown = html[html.index('id="regressions"') :]
    shown = shown[: shown.index("</section>")]
    assert "<del>fine film</del>" in shown and "<ins>" in shown
    assert "<script" not in shown and "&lt;" in shown
    none = render_report(_with(_row("p", *[("a", 0.1), ("b", 0.2), ("c", 0.3), ("d", 0.9)])))
    assert "answers none of 1 held-out prompts worse than round 2" in re.sub(r"\s+", " ", none)
