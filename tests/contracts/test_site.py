"""The site of the docs: its links lead somewhere, it needs no network, its reference is whole."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REFERENCE = runpy.run_path(str(ROOT / "scripts/reference_pages.py"))
ELSEWHERE = re.compile(r"""<(?:script|link|img|iframe)[^>]*(?:src|href)=["'](?:https?:)?//""")


def build(root: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "scripts/build_site.py"), str(out)]
    return subprocess.run(command, cwd=root, capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site") / "site"
    ended = build(ROOT, out)
    assert ended.returncode == 0, ended.stderr
    return out


def test_every_page_is_there(site: Path) -> None:
    pages = {path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")}
    pages |= {Path(name) for name in REFERENCE["PAGES"]}
    assert [page for page in pages if not (site / page.with_suffix(".html")).is_file()] == []


def test_readers_fetch_nothing_from_elsewhere(site: Path) -> None:
    found = {
        path.name: ELSEWHERE.findall(path.read_text(encoding="utf-8"))
        for path in site.rglob("*.html")
    }
    assert {name: hits for name, hits in found.items() if hits} == {}


def test_formulas_are_drawn_without_a_script(site: Path) -> None:
    page = (site / "dpo.html").read_text(encoding="utf-8")
    assert page.count("<math") > 20
    assert "$$" not in page


@pytest.mark.parametrize("broken", ["[a](nowhere.md)", "[a](gate.md#nowhere)"])
def test_a_broken_link_is_an_error(broken: str, tmp_path: Path) -> None:
    names = ("docs", "scripts", "mkdocs.yml", "configs", "dpo_core", "flows", "generation")
    for name in (*names, "labeling", "reporting", "console", "examples", "benchmarks", "deploy"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "docs").unlink()
    subprocess.run(["cp", "-r", str(ROOT / "docs"), str(tmp_path / "docs")], check=True)
    page = tmp_path / "docs" / "report.md"
    page.write_text(page.read_text(encoding="utf-8") + f"\n{broken}\n", encoding="utf-8")
    ended = build(tmp_path, tmp_path / "site")
    assert ended.returncode == 1
    assert "report.md" in ended.stderr


def test_every_config_key_says_what_it_is() -> None:
    assert REFERENCE["undescribed_keys"]() == []


def test_reference_has_every_command() -> None:
    from tests.contracts.test_documented_commands import SHOWN, _names

    page = REFERENCE["cli_page"]()
    named = {" ".join(_names(shown.words[1:])) for shown in SHOWN if shown.words[0] == "ratchet"}
    assert [name for name in named if name and f"## ratchet {name}\n" not in page] == []
