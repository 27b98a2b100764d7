"""The tree in ARCHITECTURE.md is the tree on disk."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("console", "dpo_core", "examples", "flows", "generation", "labeling", "reporting")


def paths_in_tree(text: str) -> list[str]:
    """Paths of the first fenced block: two spaces of indent per level, folders end in a slash."""
    block = re.search(r"^```text\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert block, "ARCHITECTURE.md has no ```text block with the tree"
    paths: list[str] = []
    folders: list[str] = []
    for line in block[1].splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        folders[depth:] = [name]
        paths.append("".join(folders))
    return paths


def test_paths_in_tree_are_joined_by_their_indent() -> None:
    text = "```text\na/  one\n  b/\n    c.py  two\n  d.py\ne.md\n```\n"
    assert paths_in_tree(text) == ["a/", "a/b/", "a/b/c.py", "a/d.py", "e.md"]


def test_every_listed_path_exists() -> None:
    listed = paths_in_tree((ROOT / "ARCHITECTURE.md").read_text())
    assert [path for path in listed if not (ROOT / path).exists()] == []


def test_only_folders_are_listed() -> None:
    listed = paths_in_tree((ROOT / "ARCHITECTURE.md").read_text())
    assert [path for path in listed if not path.endswith("/")] == []


def test_every_folder_is_listed() -> None:
    listed = set(paths_in_tree((ROOT / "ARCHITECTURE.md").read_text()))
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    parents = {parent for name in tracked.stdout.split() for parent in Path(name).parents}
    folders = {
        f"{folder.as_posix()}/"
        for folder in parents
        if folder.name and not folder.parts[0].startswith(".")
        if len(folder.parts) == 1 or folder.parts[0] in PACKAGES
    }
    assert sorted(folders - listed) == []
