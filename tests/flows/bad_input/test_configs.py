"""Configs and overrides that are wrong in one or two places, made by the hundred.

An oracle written by hand says which are wrong: those end with exit code 2 and one message that
names the place, without a traceback, and nothing is written. The others are accepted.
"""

import copy
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from draws import many, some
from hypothesis import given
from hypothesis import strategies as st
from in_process import Workplace
from oracle import KEYS, VALUES, wrong

GOOD: dict[str, Any] = {
    "name": "abc",
    "policy": {"build": "examples.reviews.model:build"},
    "prompts": {"path": "prompts.jsonl"},
    "judge": {"function": "bad_input_judge:score"},
}

Check = Callable[[Workplace, dict[str, Any]], None]

CHANGES = st.dictionaries(st.sampled_from(sorted(KEYS)), st.sampled_from(VALUES), max_size=2)


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    config = copy.deepcopy(GOOD)
    for key, value in changes.items():
        section, _, last = key.rpartition(".")
        (config.setdefault(section, {}) if section else config)[last] = value
    return config


def check_config(workplace: Workplace, changes: dict[str, Any]) -> None:
    config = changed(changes)
    workplace.write("c.yaml", yaml.safe_dump(config))
    ended = workplace.ratchet("run", "c.yaml")
    faults = wrong(config, list(changes))
    if faults:
        ended.assert_refused(*(said(key, changes.get(key)) for key in faults))
    else:
        assert ended.code == "accepted", (changes, ended)


def check_overrides(workplace: Workplace, changes: dict[str, Any]) -> None:
    workplace.write("c.yaml", yaml.safe_dump(GOOD))
    values = {key: yaml.safe_dump(value, default_flow_style=True) for key, value in changes.items()}
    words = [f"--set={key}={value.removesuffix('...' + chr(10))}" for key, value in values.items()]
    ended = workplace.ratchet("run", "c.yaml", *words)
    faults = wrong(changed(changes), list(changes))
    if faults:
        ended.assert_refused(*(said(key, changes.get(key)) for key in faults))
    else:
        assert ended.code == "accepted", (changes, ended)


def said(key: str, value: Any) -> str:
    """What a message must hold to name the place: its key, the user code that is not there, or the
    section that needs one of several keys and has none."""
    if value is None and key in ("policy.build", "prompts.path"):
        return f"{key.partition('.')[0]}: set exactly one of"
    names_code = key in ("judge.function", "policy.build") and ":" in str(value)
    return str(value) if names_code else key


@some(40)
@given(changes=CHANGES)
def test_configs(workplace: Workplace, changes: dict[str, Any]) -> None:
    check_config(workplace, changes)


@some(40)
@given(changes=CHANGES)
def test_overrides(workplace: Workplace, changes: dict[str, Any]) -> None:
    check_overrides(workplace, changes)


@pytest.mark.proof
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("check", [check_config, check_overrides])
def test_every_change_of_one_key(workplace: Workplace, check: Check) -> None:
    for key, value in itertools.product(KEYS, VALUES):
        check(workplace, {key: value})


@pytest.mark.proof
@pytest.mark.timeout(1800)
@many(700)
@given(changes=CHANGES)
def test_many_configs(workplace: Workplace, changes: dict[str, Any]) -> None:
    check_config(workplace, changes)
    check_overrides(workplace, changes)


# ── what was found, kept ─────────────────────────────────────────────────────────────────────────

TEXTS: dict[str, tuple[str, str]] = {
    "a key twice": ("rounds: 2\nrounds: 3\n", "duplicate key rounds"),
    "a section twice": ("training: {beta: 1}\ntraining: {epochs: 2}\n", "duplicate key training"),
    "holds itself": ("stop: &a {plateau: *a}\n", "c.yaml: sections are nested too deeply"),
    "deep": ("stop: " + "[" * 600 + "\n", "c.yaml: sections are nested too deeply"),
    "no day": ("rounds: 2024-99-99\n", "rounds: Input should be a valid integer"),
    "a tag": ("rounds: !!int x\n", "c.yaml holds a value that cannot be read"),
    "no digits": ("rounds: 0x_\n", "c.yaml holds a value that cannot be read"),
    "digits": ("seed: " + "9" * 5000 + "\n", "c.yaml holds a value that cannot be read"),
    "bytes": ("rounds: !!binary aGFsbG8=\n", "c.yaml is not valid YAML"),
    "a NUL": ("stop: {}\0\n", "c.yaml is not valid YAML"),
    "data_dir": ("data_dir: [a]\n", "data_dir must be the path of a folder (found ['a'])"),
    "no path": ("sft: {path: ''}\n", "sft.path: no such file"),
    "a yes": ("rounds: yes\n", "rounds: Input should be a value, not yes or no (found True)"),
    "a no": ("stop: {hours: off}\n", "stop.hours: Input should be a value, not yes or no"),
    "in a list": ("training: {torchrun: [yes]}\n", "training.torchrun.0: Input should be"),
    "cron": ("schedule: {cron: nonsense}\n", "schedule.cron 'nonsense' is not a cron line"),
    "zone": ("schedule: {timezone: Mars/X}\n", "schedule.timezone 'Mars/X' is not a timezone"),
    "a late round": (
        "pairs: {rejected_from: {round: 1}}\n",
        "round 1's policy does not exist yet in round 1",
    ),
    "an unknown round": (
        "pairs: {rejected_from: {round: 7}}\n",
        "round 7's policy does not exist yet when the last of the 3 rounds trains",
    ),
    "an unknown model": (
        "pairs: {rejected_from: prompts.jsonl}\n",
        "prompts.jsonl is not a model: it has no config.json",
    ),
    "a model of another kind": (
        "pairs: {rejected_from: model.gguf}\n",
        "pairs.rejected_from must be the folder of a model, its id on the hub, or {round: k}",
    ),
    "no scores": (
        "pairs: {rejected_from: {round: 0}, strategy: random}\n",
        "pairs.rejected_from needs score margins between answers",
    ),
    "too large": (
        "gate: {otherwise: retry, retry: {changes: [{training.epochs: " + "9" * 400 + "x}]}}\n",
        "training.epochs: " + "9" * 400 + "x is too large",
    ),
}


@pytest.mark.parametrize("case", TEXTS)
def test_texts(workplace: Workplace, case: str) -> None:
    text, message = TEXTS[case]
    workplace.write("c.yaml", yaml.safe_dump(GOOD) + text)
    workplace.ratchet("run", "c.yaml").assert_refused(message)


@pytest.mark.parametrize("text", ["notify: {on: [gate]}\n", "name: 2024-01-01\n"])
def test_keys_and_days_are_texts(workplace: Workplace, text: str) -> None:
    config = {key: value for key, value in GOOD.items() if not text.startswith(key)}
    workplace.write("c.yaml", yaml.safe_dump(config) + text)
    assert workplace.ratchet("run", "c.yaml").code == "accepted"


JUDGES: dict[str, tuple[Any, str]] = {
    "members": ({"kind": "committee", "members": 5}, "judge.members: Input should be a valid list"),
    "half an address": ("http://[::1", "judge.endpoint must be a URL"),
    "no port": ("http://host:99999/v1", "judge.endpoint must be a URL"),
    "a space": ("http://ho st/v1", "judge.endpoint must be a URL"),
}


@pytest.mark.parametrize("case", JUDGES)
def test_judges(workplace: Workplace, case: str) -> None:
    judge, message = JUDGES[case]
    if isinstance(judge, str):
        judge = {"kind": "llm", "model": "m", "endpoint": judge, "api_key_env": None}
    others = {"evaluation_judge": GOOD["judge"], "pairs": {"strategy": "random"}}
    workplace.write("c.yaml", yaml.safe_dump({**GOOD, **others, "judge": judge}))
    workplace.ratchet("run", "c.yaml").assert_refused(message)


def test_a_number_that_json_has_not(workplace: Workplace) -> None:
    judge = {"kind": "llm", "model": "m", "endpoint": "http://h/v1", "api_key_env": None}
    config = {**GOOD, "judge": judge, "evaluation_judge": GOOD["judge"]}
    workplace.write("c.yaml", yaml.safe_dump({**config, "pairs": {"strategy": "random"}}))
    assert workplace.ratchet("run", "c.yaml").code == "accepted"
    ended = workplace.ratchet("run", "c.yaml", "--set", "judge.request={top_k: .nan}")
    ended.assert_refused("judge.request must be JSON, without NaN or infinity")


@pytest.mark.parametrize(
    ("override", "place"),
    [
        (".=1", "--set .=1: expected key=value"),
        ("training..beta=1", "--set training..beta=1: expected key=value"),
        ("rounds=2024-99-99", "rounds: Input should be a valid integer"),
        ("rounds=0x_", "--set rounds=0x_: '0x_' is not a YAML value"),
        ("name=\udcff", "--set name="),
        ("policy.build='1'", "policy.build: '1' is not an import path"),
        ("judge.function=nowhere:score", "judge.function: nowhere:score: there is no module"),
        ("prompts.path=''", "prompts.path: no such file"),
    ],
)
def test_values(workplace: Workplace, override: str, place: str) -> None:
    workplace.write("c.yaml", yaml.safe_dump(GOOD))
    workplace.ratchet("run", "c.yaml", "--set", override).assert_refused(place)


@pytest.mark.parametrize("folder", ["x" * 300, "c.yaml/below", "prompts.jsonl"])
def test_folders_that_cannot_be(workplace: Workplace, folder: str) -> None:
    workplace.write("c.yaml", yaml.safe_dump(GOOD))
    workplace.ratchet("run", "c.yaml", "--campaign-dir", folder).assert_refused(folder[:6])
