"""Rounds are numbers; what they are called in names of files is said in one place."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
SPELLED = "dpo_core/campaign/layout.py"
NAMES_ONLY = {
    "flows/steps/calibrate.py",  # names of inputs, which fingerprints know
    "flows/steps/labels.py",  # a dataset's name in Argilla
    "flows/steps/training_data.py",  # names of inputs
}


def test_no_other_module_makes_names_of_rounds() -> None:
    packages = ("console", "dpo_core", "flows", "generation", "labeling", "reporting")
    sources = [path for name in packages for path in (ROOT / name).rglob("*.py")]
    padded = {
        path.relative_to(ROOT).as_posix()
        for path in sources
        if ":02d}" in path.read_text(encoding="utf-8")
    }
    assert padded - NAMES_ONLY == {SPELLED}, "use dpo_core.campaign.layout.round_name"
