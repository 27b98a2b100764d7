"""Build the documentation's site, without a network: `python scripts/build_site.py [OUT]`.

Gathers docs/, the reference pages that are made from the code, and what the docs link to elsewhere
in the repository, in a folder of its own. Zensical builds that in strict mode: a link or an anchor
that leads nowhere is an error, and so is a page that the menu does not have.
"""

import html
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml
from latex2mathml.converter import convert

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from reference_pages import PAGES  # noqa: E402 - scripts are no package

LINK = re.compile(r"(?<=\]\()([^)\s#]+)(?=[)#])")
NAMED_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s#]+)\)")
BLOCK_FORMULA = re.compile(r"^\$\$(.+?)\$\$", re.DOTALL | re.MULTILINE)
FORMULA = re.compile(r"(?<![\w$])\$([^$\n]+(?:\n[^$\n]+)?)\$(?![\w$])")
FENCE = re.compile(r"(^ *(`{3,}).*?^ *\2 *$)", re.MULTILINE | re.DOTALL)
SHOWN = {".md", ".svg", ".png"}
LANGUAGES = {".py": "python", ".yaml": "yaml", ".sh": "bash", ".json": "json", ".toml": "toml"}


def build(out: Path) -> int:
    """Zensical's exit code; the site is in `out`."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
        decisions = sorted(path.name for path in (ROOT / "docs/adr").glob("*.md"))
        config["nav"].append({"Decisions": [f"adr/{name}" for name in decisions]})
        config["docs_dir"], config["site_dir"] = "docs", "site"
        (work / "mkdocs.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
        gather(work / "docs")
        if outside := missing_from_menu(config["nav"]):
            print("mkdocs.yml: nav lacks", ", ".join(outside), file=sys.stderr)
            return 1
        command = [sys.executable, "-m", "zensical", "build", "--strict", "-f", "mkdocs.yml"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
        ended = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)
        if ended.returncode:
            print(ended.stdout + ended.stderr, file=sys.stderr)
            return ended.returncode
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(work / "site", out)
    return 0


def missing_from_menu(nav: object) -> list[str]:
    named = set(re.findall(r"[\w/.-]+\.md", yaml.safe_dump(nav)))
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    return sorted(set(pages) - named)


def gather(docs: Path) -> None:
    """The folder that the site is built from."""
    for name, page in PAGES.items():
        (docs / name).parent.mkdir(parents=True, exist_ok=True)
        (docs / name).write_text(page(), encoding="utf-8")
    for path in linked_files():
        target = docs / place(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            target.write_text(page_text(path), encoding="utf-8")
        elif path.suffix in SHOWN or path.is_relative_to(ROOT / "docs"):
            shutil.copy(path, target)
        else:
            target.write_text(source_page(path), encoding="utf-8")


def linked_files() -> Iterator[Path]:
    """Everything in docs/, and what pages link to outside, and what those link to."""
    waiting = [path for path in sorted((ROOT / "docs").rglob("*")) if path.is_file()]
    seen: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        yield path
        if path.suffix == ".md":
            waiting += targets(path)


def targets(page: Path) -> list[Path]:
    found = [name for name in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in name]
    local = [(page.parent / name).resolve() for name in found]
    return [path for path in local if path.is_relative_to(ROOT) and path.is_file()]


def place(path: Path) -> str:
    """Where a file of the repository is in the site's source."""
    name = path.relative_to(ROOT).as_posix()
    if name.startswith("docs/"):
        return name.removeprefix("docs/")
    return f"repository/{name}" if path.suffix in SHOWN else f"repository/{name}.md"


def page_text(path: Path) -> str:
    """A page whose links lead to where its targets are in the site, with formulas as MathML."""
    pieces = FENCE.split(path.read_text(encoding="utf-8"))
    # FENCE has two groups: text, a fenced block, its backticks, text …
    return "".join(
        piece if number % 3 == 1 else _prose(piece, path)
        for number, piece in enumerate(pieces)
        if number % 3 != 2
    )


def _prose(text: str, page: Path) -> str:
    def without_folder(match: re.Match[str]) -> str:
        is_folder = "://" not in match[2] and (page.parent / match[2]).is_dir()
        return match[1] if is_folder else match[0]

    def moved(match: re.Match[str]) -> str:
        target = (page.parent / match[1]).resolve()
        if "://" in match[1] or not target.is_relative_to(ROOT) or not target.is_file():
            return match[1]
        return os.path.relpath(place(target), os.path.dirname(place(page)) or ".")

    text = LINK.sub(moved, NAMED_LINK.sub(without_folder, text))
    if page.name != "dpo.md":  # elsewhere a dollar is a dollar
        return text
    text = BLOCK_FORMULA.sub(lambda match: _drawn(match[1], "block"), text)
    return FORMULA.sub(lambda match: _drawn(match[1], "inline"), text)


def _drawn(formula: str, display: str) -> str:
    """MathML, which browsers draw by themselves; what Markdown would read is escaped."""
    markup = convert(html.unescape(formula), display=display)
    if display == "inline":  # a line that began with a block's tag would be a block
        markup = f"<span>{markup}</span>"
    return re.sub(r"(?<=>)([*_\\|]+)(?=<)", lambda m: "".join(f"&#{ord(c)};" for c in m[1]), markup)


def source_page(path: Path) -> str:
    language = LANGUAGES.get(path.suffix, "text")
    text = path.read_text(encoding="utf-8")
    return f"# {path.relative_to(ROOT)}\n\n````{language}\n{text}\n````\n"


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1] if len(sys.argv) > 1 else "site").resolve()))
