"""Models that no campaign made: folders, GGUF files, or ids on the hub, which are fetched into its
cache."""

import json
from dataclasses import dataclass
from pathlib import Path

from dpo_core.errors import BadInput
from dpo_core.gguf.header import check_package, names_gguf, read_header
from dpo_core.hashing import file_sha256, policy_id

_WANTED = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
"""Files of a model on the hub; many hold their weights in other formats besides."""


@dataclass(frozen=True)
class Model:
    """name: as the user gave it. folder: or a GGUF file. id: hash of its files."""

    name: str
    folder: Path
    id: str


def find_model(name: str) -> Model:
    """Raises BadInput for a name that leads to no model with a tokenizer and safetensors."""
    if names_gguf(name):
        read_header(Path(name))  # raises for what is no such file
        check_package()
        return Model(name, Path(name).resolve(), policy_id(Path(name)))
    folder = find_folder(name).resolve()
    return Model(name, folder, policy_id(folder))


def find_folder(name: str) -> Path:
    """Of a model that lies here or is fetched from the hub. Raises as `find_model` does."""
    folder = Path(name) if Path(name).exists() else _fetched(name)
    wanted = {
        "config.json": folder / "config.json",
        "tokenizer (tokenizer_config.json)": folder / "tokenizer_config.json",
    }
    missing = [what for what, path in wanted.items() if not path.is_file()]
    if not any(folder.glob("*.safetensors")):
        missing.append("weights (*.safetensors)")
    if missing:
        raise BadInput(
            f"{name} is no model: it has no {', no '.join(missing)}",
            "Give a folder that save_pretrained wrote, model and tokenizer, such as "
            "CAMPAIGN/rounds/01/training-…/policy, a .gguf file, or an id on the hub.",
        )
    return folder


def share_vocabulary(first: Model, second: Model) -> bool:
    """Whether both read and write the same token ids: then one can score the other's answers."""
    return _vocabulary(first.folder) == _vocabulary(second.folder)


def _vocabulary(folder: Path) -> object:
    """What decides the ids: of a fast tokenizer its model and added tokens, else its files."""
    fast = folder / "tokenizer.json"
    if fast.is_file():
        read = json.loads(fast.read_text(encoding="utf-8"))
        return [read.get("model"), read.get("added_tokens")]
    names = ("tokenizer.model", "vocab.json", "vocab.txt", "merges.txt", "spiece.model")
    return {name: file_sha256(folder / name) for name in names if (folder / name).is_file()}


def _fetched(name: str) -> Path:
    from huggingface_hub import snapshot_download

    if name.startswith(("/", ".", "~")):
        raise BadInput(f"there is no folder {name}", "Give another, or an id on the hub.")
    try:
        return Path(snapshot_download(name, allow_patterns=_WANTED))
    except Exception as error:  # of the hub's client and of the HTTP library that it has
        raise BadInput(
            f"{name} is neither a folder here nor a model that the hub could give "
            f"({type(error).__name__})",
            "Check the name, the network, and for gated models the token in HF_TOKEN.",
        ) from None
