"""Command lines that are wrong in one or two places, on campaigns that are none."""

from collections.abc import Sequence

import pytest
import yaml
from draws import many, some
from hypothesis import given
from hypothesis import strategies as st
from in_process import Workplace
from test_configs import GOOD

PLACES = ("nowhere", "c.yaml", "x" * 300, "c.yaml/below", "", "folder", "garbage", "\udcff", "-")
NUMBERS = ("x", "-1", "1.5", "", "1e3", "99999999999999999999999", "²")
COMMANDS: dict[str, Sequence[Sequence[str]]] = {
    "run": [["c.yaml"], ["--set"], ["--campaign-dir"]],
    "status": [["@"], ["--json"], ["--watch"]],
    "report": [["@"], ["--output", "page.html"]],
    "ui": [["@"], ["--port", "#"]],
    "compare": [["@"], ["@"], ["--html", "page.html"], ["--json"]],
    "export": [["@"], ["out"], ["--rounds", "#"], ["--format", "#"], ["--licence", "#"]],
    "import": [["@"], ["out"], ["--format", "#"], ["--columns", "#"]],
    "publish": [["@"], ["--to", "@"], ["--round", "#"]],
    "branch": [["@"], ["--from-round", "#"], ["--set", "#"], ["--name", "@"]],
    "replay": [["@"], ["--round", "#"]],
    "rollback": [["@"], ["--to-round", "#"], ["--undo"]],
    "decide": [["@"], ["--promote"], ["--reason", "#"]],
    "labels": [["retract"], ["@"], ["--annotator", "ann"], ["--round", "#"]],
    "label": [["user"], ["add"], ["@"], ["--dir", "@"]],
    "evaluate": [["@"], ["@"], ["--prompts", "@"], ["--judge", "#"], ["--samples", "#"]],
    "schedule": [["@"], ["--rounds", "#"], ["--cron", "#"]],
    "submit": [["@"], ["--set", "#"], ["--dir", "@"]],
    "rum": [["@"]],
}
"""What may follow a command; @ is a place that holds no campaign, # is no number."""


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    command = draw(st.sampled_from(sorted(COMMANDS)))
    words = [command]
    for part in COMMANDS[command]:
        if draw(st.integers(0, 9)) == 0:
            continue
        for word in part:
            options = {"@": PLACES, "#": NUMBERS}.get(word, (word,))
            words.append(draw(st.sampled_from(options)))
    if draw(st.integers(0, 4)) == 0:
        words.insert(draw(st.integers(1, len(words))), "--sed")
    return words


def check_command(workplace: Workplace, words: list[str]) -> None:
    workplace.write("c.yaml", yaml.safe_dump(GOOD))
    workplace.write("prompts.jsonl", "")  # so that nothing would run, whatever else is right
    for name, content in (("folder/thesis.tex", "x"), ("garbage/campaign.yaml", "a: [")):
        (workplace.folder / name).parent.mkdir(exist_ok=True)
        workplace.write(name, content)
    workplace.ratchet(*words).assert_usage()


@some(40)
@given(words=command_lines())
def test_commands(workplace: Workplace, words: list[str]) -> None:
    check_command(workplace, words)


@pytest.mark.proof
@many(800)
@given(words=command_lines())
def test_many_commands(workplace: Workplace, words: list[str]) -> None:
    check_command(workplace, words)


@pytest.mark.parametrize(
    "words",
    [
        ["label", "user", "add", "ann", "--dir", "c.yaml"],
        ["status", "x" * 300],
        ["status", "garbage"],
        ["branch", "garbage", "--from-round", "0"],
        ["evaluate", "m", "m", "--prompts", "x" * 300, "--judge", "bad_input_judge:score"],
        ["evaluate", "m", "m", "--prompts", "c.yaml", "--judge-config", "garbage/campaign.yaml"],
    ],
)
def test_what_was_found(workplace: Workplace, words: list[str]) -> None:
    check_command(workplace, words)
