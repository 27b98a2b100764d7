"""A campaign keeps the defaults that it was made with."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from dpo_core.campaign.layout import Layout
from dpo_core.errors import ConfigError
from dpo_core.gate.config import gate_recipe
from flows.config import load_config, read_stored
from flows.config.defaults import CHANGED, DEFAULTS, FIRST
from flows.config.raw import RawConfig

CONFIG: dict[str, Any] = {
    "name": "kept",
    "policy": {"model": "nobody/loads-it"},
    "prompts": {"function": "my:prompts"},
    "judge": {"function": "my:rule"},
}


def value(config: Any, key: str) -> Any:
    for name in key.split("."):
        config = getattr(config, name)
    return config


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "kept.yaml"
    path.write_text(yaml.safe_dump(CONFIG))
    return path


def made(folder: Path, **more: Any) -> Path:
    """A campaign of which only the config is there."""
    folder.mkdir(parents=True)
    Layout(folder).config.write_text(yaml.safe_dump({**CONFIG, **more}))
    Layout(folder).ledger.touch()
    return folder


@pytest.mark.parametrize("folder", ["campaigns/kept", "elsewhere"])
def test_a_campaign_that_names_no_version_has_the_first_ones(config: Path, folder: str) -> None:
    root = made(config.parent / folder)
    named = None if folder.startswith("campaigns") else root
    before = {key: old for version in CHANGED.values() for key, old in version.items()}
    for found in (
        load_config(config, [], named),
        load_config(root / "campaign.yaml"),
        read_stored(Layout(root)),
    ):
        assert found.defaults == FIRST
        assert {key: value(found, key) for key in before} == before


@pytest.mark.parametrize(
    ("judge", "rule"), [({"function": "my:rule"}, "reject"), ({"kind": "human"}, "drop")]
)
def test_cut_answers_may_lose_where_the_judge_scores(
    config: Path, judge: dict[str, str], rule: str
) -> None:
    config.write_text(yaml.safe_dump({**CONFIG, "judge": judge}))
    people = ["evaluation_judge.function=my:rule", "pairs.strategy=random"]
    more = [] if "function" in judge else people
    assert load_config(config, more).pairs.truncated == rule
    assert load_config(config, [*more, "pairs.truncated=keep"]).pairs.truncated == "keep"


def test_a_new_campaign_has_those_of_today_and_keeps_what_it_says(config: Path) -> None:
    assert load_config(config).defaults == DEFAULTS
    root = made(config.parent / "elsewhere", defaults=DEFAULTS)
    assert load_config(config, [], root).defaults == read_stored(Layout(root)).defaults == DEFAULTS


def test_a_campaign_of_version_2_has_what_came_later_turned_off(config: Path) -> None:
    found = read_stored(Layout(made(config.parent / "elsewhere", defaults=2)))
    assert (found.evaluation.requests, found.gate.relevance_fall) == (None, None)
    assert found.gate.length is not None
    assert "relevance_fall" not in gate_recipe(found.gate)


def test_what_is_said_counts_more_than_any_default(config: Path) -> None:
    root = made(config.parent / "elsewhere")
    found = load_config(config, ["gate.kl_budget=7"], root)
    assert (found.defaults, found.gate.kl_budget) == (FIRST, 7)
    assert load_config(config, [f"defaults={DEFAULTS}"], root).defaults == DEFAULTS


@pytest.mark.parametrize("wrong", ["0", str(DEFAULTS + 1), "new", "null"])
def test_a_version_that_there_is_not_is_refused(config: Path, wrong: str) -> None:
    with pytest.raises(ConfigError, match="defaults"):
        load_config(config, [f"defaults={wrong}"])


def test_a_section_that_is_null_is_left_to_the_checks() -> None:
    assert RawConfig({"gate": None}).fill_defaults(FIRST).values["gate"] is None


def test_a_campaign_whose_config_is_damaged_is_named(config: Path) -> None:
    root = made(config.parent / "elsewhere")
    Layout(root).config.write_text("{")
    with pytest.raises(
        ConfigError, match=r"(?s)elsewhere/campaign\.yaml is not valid YAML.*Restore the campaign"
    ):
        load_config(config, [], root)


def test_a_name_that_no_folder_can_have_is_no_campaign(config: Path) -> None:
    assert load_config(config, [f"name={'x' * 5000}"]).defaults == DEFAULTS
