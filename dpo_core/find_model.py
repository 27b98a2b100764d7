"""Models from outside a campaign: folders, GGUF files, or hub ids, which are downloaded."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from dpo_core.errors import BadInput
from dpo_core.gguf.header import check_package, names_gguf, read_header
from dpo_core.hashing import file_sha256, policy_id

_WANTED = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
"""Files to download; many models on the hub also hold their weights in other formats."""
_HUB_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Model:
    """name: as the user gave it. folder: a folder or GGUF file. id: hash of its files."""

    name: str
    folder: Path
    id: str


def find_model(name: str) -> Model:
    """Find a model by folder, GGUF file or hub id.

    Raises BadInput where there is no model with a tokenizer and safetensors.
    """
    if names_gguf(name):
        read_header(Path(name))  # raises if it is not a GGUF file
        check_package()
        return Model(name, Path(name).resolve(), policy_id(Path(name)))
    folder = find_folder(name).resolve()
    return Model(name, folder, policy_id(folder))


def find_folder(name: str) -> Path:
    """The folder of a local or downloaded model. Raises as `find_model` does."""
    folder = Path(name) if Path(name).exists() else _download(name)
    required = {
        "config.json": folder / "config.json",
        "tokenizer (tokenizer_config.json)": folder / "tokenizer_config.json",
    }
    missing = [what for what, path in required.items() if not path.is_file()]
    if not any(folder.glob("*.safetensors")):
        missing.append("weights (*.safetensors)")
    if missing:
        raise BadInput(
            f"{name} is not a model: it has no {', no '.join(missing)}",
            "Give a folder that save_pretrained wrote, with model and tokenizer, such as "
            "CAMPAIGN/rounds/01/training-…/policy, a .gguf file, or a hub id.",
        )
    return folder


_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


def names_folder(name: str) -> bool:
    """Whether a model's name can only be a path, because no hub id looks like it."""
    return _HUB_ID.fullmatch(name) is None


def check_on_hub(name: str, revision: str | None) -> None:
    """Raise BadInput unless the hub has this model, or it was downloaded before. Downloads
    nothing."""
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    if isinstance(try_to_load_from_cache(name, "config.json", revision=revision), str):
        return
    try:
        HfApi().model_info(name, revision=revision, timeout=_HUB_TIMEOUT_S)
    except Exception as error:  # of the hub's client or its HTTP library
        why = f"the hub cannot be asked ({type(error).__name__}), and it was not downloaded before"
        if isinstance(error, GatedRepoError):
            why = "the hub shows it only to those who were granted access"
        elif isinstance(error, RepositoryNotFoundError):
            why = "the hub has no such model, or none for you"
        raise BadInput(
            f"there is no folder {name}, and {why}",
            "Give the folder of a model, a .gguf file, or a hub id; check the network, and for "
            "gated models the token in HF_TOKEN.",
        ) from None


def share_vocabulary(first: Model, second: Model) -> bool:
    """Whether two models use the same token ids, so that one can score the other's answers."""
    return _vocabulary(first.folder) == _vocabulary(second.folder)


def _vocabulary(folder: Path) -> object:
    """What determines token ids: a fast tokenizer's model and added tokens, else its files."""
    fast = folder / "tokenizer.json"
    if fast.is_file():
        tokenizer = json.loads(fast.read_text(encoding="utf-8"))
        return [tokenizer.get("model"), tokenizer.get("added_tokens")]
    names = ("tokenizer.model", "vocab.json", "vocab.txt", "merges.txt", "spiece.model")
    return {name: file_sha256(folder / name) for name in names if (folder / name).is_file()}


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download

    if names_folder(name):
        raise BadInput(f"there is no folder {name}", "Give another folder, or a hub id.")
    try:
        return Path(snapshot_download(name, allow_patterns=_WANTED))
    except Exception as error:  # of the hub's client or its HTTP library
        raise BadInput(
            f"{name} is neither a folder nor a model that could be downloaded from the hub "
            f"({type(error).__name__})",
            "Check the name, the network, and for gated models the token in HF_TOKEN.",
        ) from None
