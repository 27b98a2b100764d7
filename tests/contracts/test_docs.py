"""What the documentation names exists: links, files, commands, and the demo's real output."""

import re
import runpy
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    ROOT / path
    for path in subprocess.run(
        ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
)
REFERENCE = runpy.run_path(str(ROOT / "scripts" / "reference_pages.py"))["PAGES"]
OUR_FOLDERS = "configs|constraints|docs|dpo_core|examples|flows|generation|labeling|scripts|tests"


def by_name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", page.read_text())
    local = [page.parent / target for target in targets if "://" not in target]
    made = [ROOT / "docs" / name for name in REFERENCE]  # when the site is built
    assert [path for path in local if not path.exists() and path not in made] == []


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_named_files_exist(page: Path) -> None:
    named = re.findall(rf"(?<![\w/.<])(?:{OUR_FOLDERS})/[\w./-]*\w", page.read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(r"(?:^|`)make ([a-z]+)", page.read_text(), re.MULTILINE)
    assert sorted(set(named) - targets) == []


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_ratchet_commands_exist(page: Path) -> None:
    from typer.main import get_command

    from flows.cli import app

    commands = set(getattr(get_command(app), "commands", {}))
    named = re.findall(r"(?:^|`|bin/)ratchet ([a-z]+)", page.read_text(), re.MULTILINE)
    assert sorted(set(named) - commands) == []


def test_readme_shows_the_demos_real_output() -> None:
    begin, end = "<!-- demo-output:begin -->", "<!-- demo-output:end -->"
    shown = (ROOT / "README.md").read_text().split(begin)[1].split(end)[0]
    real = (ROOT / "docs" / "demo-output.txt").read_text()
    lines = shown.strip().removeprefix("```text\n").removesuffix("\n```")
    assert len(lines.splitlines()) >= 10
    assert lines in real


def test_columns_of_metrics_are_documented() -> None:
    page = runpy.run_path(str(ROOT / "scripts" / "metrics_doc.py"))["page"]()
    assert (ROOT / "docs" / "metrics.md").read_text() == page, "run `make docs`"


def test_findings_and_options_of_the_audit_are_documented() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "audit_doc.py"))
    text = script["PAGE"].read_text()
    assert script["page"](text) == text, "run `make docs`"


def test_sizes_are_what_the_doctor_estimates() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "scale_doc.py"))
    text = script["PAGE"].read_text()
    assert script["page"](text) == text, "run `make docs`"


def test_figures_and_losses_of_the_mathematics_are_those_of_the_code() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "dpo_doc.py"))
    text = (ROOT / "docs" / "dpo.md").read_text()
    assert script["page"](text) == text, "run `make docs`"
    for name, spec in script["figures"]().items():
        drawn = (ROOT / "docs" / "figures" / name).read_text()
        assert drawn.endswith(f"{script['mark_of'](spec)}\n"), f"{name}: run `make docs`"
        assert f"](figures/{name})" in text


def test_the_drift_that_the_mathematics_names() -> None:
    [spec] = [
        spec
        for name, spec in runpy.run_path(str(ROOT / "scripts" / "dpo_doc.py"))["figures"]().items()
        if name.startswith("kl")
    ]
    found: dict[str, list[float]] = {}
    for point in spec["data"]["values"]:
        found.setdefault(point["series"], []).append(point["y"])
    assert max(found["from the previous round, reset"]) <= 0.06
    assert found["from the base, reference reset"][-1] == pytest.approx(2.7, abs=0.05)


def test_readme_example_config_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.config import load_config
    from labeling.judges.config import RuleJudge

    [shown] = re.findall(r"```yaml\n(name: .*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "short.yaml").write_text(shown)
    (tmp_path / "prompts.jsonl").touch()
    monkeypatch.chdir(tmp_path)
    judge = load_config(Path("short.yaml")).judge
    assert isinstance(judge, RuleJudge)
    assert judge.function == "my_judge:score"


def test_readme_example_judge_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dpo_core.records import Completion, Prompt
    from labeling.judges.rules import RuleScores

    shown = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[0]
    (tmp_path / "my_judge.py").write_text(shown)
    monkeypatch.syspath_prepend(tmp_path)
    prompt = Prompt("p", text="Why?")
    answers = [
        Completion(t, prompt, t, reason, 1) for t, reason in (("no", "stop"), ("", "length"))
    ]
    assert [score.value for score in RuleScores("my_judge:score").score(answers)] == [-2, -1000]


def test_training_page_shows_options_that_exist_with_their_defaults() -> None:
    import yaml

    from flows.config.training import TrainingSection

    page = (ROOT / "docs" / "training.md").read_text()
    fields, shown = TrainingSection.model_fields, dict[str, str]()
    for key, default in re.findall(r"^\| `(\w+)` \| (.*?) \|", page, re.MULTILINE):
        shown[key] = default.strip("`")
    assert {"lora", "schedule", "optimiser_state"} <= shown.keys() <= fields.keys()
    for key, default in shown.items():
        expected = fields[key].get_default(call_default_factory=True)
        read = None if default == "none" else yaml.safe_load(default)
        assert (float(read) if isinstance(expected, float) else read) == expected, key
    [example] = re.findall(r"```yaml\n(lora:.*?)```", page, re.DOTALL)
    config = TrainingSection.model_validate(yaml.safe_load(example))
    assert config.lora is not None and config.lora.rank == 16
    references = re.findall(r"^\| `(reference: .*?)` \|", page, re.MULTILINE)
    assert len(references) == 5
    for written in references:
        loss = "simpo" if "none" in written else "sigmoid"
        TrainingSection.model_validate({"loss": loss, **yaml.safe_load(written)})
