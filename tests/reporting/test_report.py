"""The HTML page, read as text."""

import base64
import gzip
import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

from demo_summary import HOSTILE, demo, measured

from dpo_core.campaign.retractions import Retraction
from dpo_core.campaign.round_metrics import RoundMetrics
from reporting.page import embed_json
from reporting.plots import plots
from reporting.report import render_report
from reporting.sections import sections
from reporting.sentences import headline, override_sentences, verdict
from reporting.summary import CampaignSummary


class _Page(HTMLParser):
    """Tags and visible text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return "".join(self.words).replace("\u00a0", " ")


def samples(html: str) -> list[dict[str, Any]]:
    """What the page's script unpacks."""
    found = re.search('id="samples-data">([^<]*)<', html)
    assert found
    rows: list[dict[str, Any]] = json.loads(gzip.decompress(base64.b64decode(found[1])))
    return rows


def test_page_says_what_the_table_says() -> None:
    page = _Page(render_report(demo(), generated_at="2026-01-05 10:00 UTC"))
    assert headline(demo()) in page.text
    assert "Report of 2026-01-05 10:00 UTC" in page.text
    assert all(verdict(row) in page.text for row in demo().rounds)
    for section in sections(demo()):
        assert section.title in page.text
        assert all(cell in page.text for row in section.rows for cell in row)


def test_page_says_what_was_taken_back() -> None:
    gone = Retraction("human:<b>bob", (1,), (1,), "ann@host", "2026-01-05T10:00:00+00:00")
    summary = replace(demo(), retractions=(gone,), outdated=(1,))
    page = _Page(render_report(summary))
    said = override_sentences(summary)
    assert len(said) == 2 and all(sentence in page.text for sentence in said)


def test_equal_summaries_give_equal_pages() -> None:
    assert render_report(demo()) == render_report(demo())


def test_first_screen_has_the_chart_the_setup_and_what_to_do_next() -> None:
    setup = (("model", "a <b> model"), ("β", "0.1"))
    page = _Page(render_report(replace(demo(), setup=setup, state="finished")))
    first = page.text.partition("Better?")[0]
    for said in ("Win rate vs. the base", "a <b> model", "Next: Read some samples", "--round 3"):
        assert said in first, said


def test_no_text_of_a_model_becomes_markup() -> None:
    page = _Page(render_report(demo()))
    tags = [tag for tag, _ in page.tags]
    assert tags.count("script") == 4  # plots, samples, Vega, the page's own
    assert not {"img", "b", "iframe", "link"} & set(tags)
    assert tags.count("svg") == 1  # the first screen's chart
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert all(text in page.text for text in HOSTILE[:3])
    answers = [answer[2] for row in samples(render_report(demo())) for answer in row["a"]]
    assert all(text in answers for text in HOSTILE[:3])


def test_page_is_utf8_and_free_of_control_characters() -> None:
    html = render_report(demo())
    html.encode("utf-8")
    body = html[html.index("<body>") : html.index('<script type="application/json"')]
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", body
    )
    hostile = samples(html)[3]["p"]
    assert hostile.startswith("nul⟨U+0000⟩ bell⟨U+0007⟩ ⟨U+001B⟩[31mred")


def test_page_asks_for_nothing() -> None:
    page = _Page(render_report(demo()))
    policy = next(
        attributes["content"]
        for tag, attributes in page.tags
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None and policy.startswith("default-src 'none'; ")
    assert "unsafe-eval" not in policy and "http" not in policy
    assert not [attributes for _, attributes in page.tags if "src" in attributes]
    links = [attributes["href"] or "" for _, attributes in page.tags if "href" in attributes]
    assert links and all(link.startswith("#") for link in links)


def test_long_answers_are_clipped_but_whole() -> None:
    html = render_report(replace(demo(), samples=demo().samples[4:5]))
    assert "Show all 100,000 characters" in html
    length = sum(len(run) for run in re.findall("A{50,}", html[: html.index("<script")]))
    assert length == 5 * 100_000  # the prompt and four policies, for readers without scripts
    [row] = samples(html)
    assert {len(text) for text in (row["p"], *(answer[2] for answer in row["a"]))} == {100_000}


def test_embedded_json_cannot_end_its_script() -> None:
    text = "</script><!--&\u2028\u2029"
    assert not set("<>&\u2028\u2029") & set(embed_json([text]))
    assert json.loads(embed_json([text])) == [text]


def test_plots_carry_the_rounds_and_the_base() -> None:
    drawn = {plot.title: plot for plot in plots(demo())}
    assert drawn.keys() >= {
        "Win rate vs. the previous policy",
        "Distance travelled",
        "Accepted",
        "Length",
        "Truncated",
    }
    assert drawn.keys() >= {"Loss", "Reward accuracy", "Margin", "Time"}
    rates = drawn["Win rate vs. the previous policy"].series[0].points
    row = demo().rounds[2]
    assert (rates[2].x, rates[2].y) == ("3", row.win_rate_previous)
    ends = (row.win_rate_previous_low, row.win_rate_previous_high)
    assert (rates[2].low, rates[2].high) == ends
    accepted = drawn["Accepted"]
    assert accepted.level == 0.951
    assert [point.x for point in accepted.series[0].points] == ["base", "1", "2", "3"]
    # Stacked, the steps and the rest make up the whole round.
    first = sum(point.y for _, point in drawn["Time"].points() if point.x == "1")
    assert math.isclose(first, demo().rounds[0].seconds_round or 0)


def test_no_series_is_drawn_twice_and_a_step_has_one_colour() -> None:
    cost = {
        step: {"seconds": n + 1.0, "cpu_seconds": 7 * n + 2.5, "tokens_in": 90 + n, "tokens_out": 3}
        for n, step in enumerate(("completions", "scores", "training", "answers", "odd"))
    }
    rounds = [
        measured(n, 0.6 + n / 100, 0.55, 0.56, 0.1 * n, cost_by_step=cost, measure_same=0.3 + n / 9)
        for n in (1, 2)
    ]
    scored = [row.model_copy(update={"score_mean": row.number("measure_same")}) for row in rounds]
    drawn = plots(replace(demo(), rounds=tuple(scored)))
    seen: dict[tuple[object, ...], str] = {}
    for plot in drawn:
        for series in plot.series:
            key = (plot.x_title, tuple((point.x, point.y) for point in series.points))
            assert key not in seen, f"{plot.title} and {seen[key]}"
            seen[key] = plot.title
    base = tuple(row.win_rate_base for row in scored)  # the chart of the first screen
    assert all(base != tuple(p.y for p in one.points) for plot in drawn for one in plot.series)
    costs = [plot for plot in drawn if plot.mark == "bar" and plot.x_title == "round"]
    assert {plot.title for plot in costs} == {"Time", "Processor time", "Tokens"}
    colours = {(series.name, series.colour) for plot in costs for series in plot.series}
    assert len(colours) == len({name for name, _ in colours}) == 5


def test_missing_numbers_are_left_out() -> None:
    row = RoundMetrics(round=1, promoted=False, loss=math.nan, win_rate_base=None)
    bare = replace(demo(), rounds=(row,), base={}, samples=(), config_yaml="")
    assert plots(bare) == ()
    page = _Page(render_report(bare))
    assert "nan" not in page.text.lower().split()
    assert 'id="samples"' not in render_report(bare)


def test_campaign_that_has_just_begun() -> None:
    begun = CampaignSummary("new", "/campaigns/new", "running", 3, (), doing="round 1: sampling")
    page = _Page(render_report(begun))
    assert "No round has finished yet." in page.text
    assert "0 of 3 rounds done, now round 1: sampling" in page.text


def test_hostile_names_stay_names() -> None:
    hostile = {"dropped": {HOSTILE[0]: 1}, f"measure_{HOSTILE[0]}": 0.5}
    row = measured(1, 0.7, 0.7, 0.7, 0.4, **hostile)
    tags = [tag for tag, _ in _Page(render_report(replace(demo(), rounds=(row,)))).tags]
    assert tags.count("script") == 4


def test_importing_is_light() -> None:
    code = (
        "import sys, reporting.report, reporting.terminal; "
        "print(sorted({'jinja2', 'rich', 'vl_convert', 'pandas', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
