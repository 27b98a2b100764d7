"""`ratchet init`: a folder with a first campaign, or with one of the recipes."""

import difflib
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from dpo_core.atomic import write_text
from dpo_core.errors import BadInput

CONFIG = "config.yaml"
_STARTER = (CONFIG, "prompts.jsonl", "my_judge.py", "test_my_judge.py", "README.md")


def list_recipes() -> Mapping[str, Traversable]:
    """name → config file, which comes with Ratchet, in a checkout as in an installed wheel."""
    folder = files("flows") / "recipes"
    found = [*folder.iterdir(), *(folder / "recipes").iterdir()]
    named = {f.name.removesuffix(".yaml"): f for f in found if f.name.endswith(".yaml")}
    return dict(sorted(named.items()))


def start_folder(folder: Path, recipe: str | None) -> list[Path]:
    """Write the files into the folder; returns them. Raises BadInput, and writes nothing, where one
    of them is there already."""
    texts = _starter() if recipe is None else {CONFIG: _recipe(recipe)}
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder} is a file", "Name a new folder: ratchet init DIR")
    there = [name for name in texts if (folder / name).exists()]
    if there:
        raise BadInput(
            f"{folder} has {' and '.join(there)} already, and nothing is overwritten",
            "Name a new folder: ratchet init DIR",
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]


def _starter() -> Mapping[str, str]:
    starter = files("examples") / "starter"
    return {name: (starter / name).read_text(encoding="utf-8") for name in _STARTER}


def _recipe(name: str) -> str:
    """The recipe, whose comments name it by the file that it becomes."""
    recipes = list_recipes()
    if name not in recipes:
        near = difflib.get_close_matches(name, recipes, n=1)
        hint = f"Did you mean {near[0]}? " if near else ""
        raise BadInput(f"there is no recipe {name}", f"{hint}The recipes are {', '.join(recipes)}.")
    text = recipes[name].read_text(encoding="utf-8")
    return text.replace(f"configs/recipes/{name}.yaml", CONFIG).replace(
        f"configs/{name}.yaml", CONFIG
    )
