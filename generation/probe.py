"""Child process of `ratchet doctor` for checks that need torch or a tokenizer; it never samples."""

import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from dpo_core.bos import find_bos_faults
from dpo_core.children import Report, serve
from dpo_core.gguf.header import names_gguf
from dpo_core.import_path import load_function
from dpo_core.special_tokens import read_special_tokens
from generation.config import PromptsConfig
from generation.prompts import read_pool

MOST_PROMPTS = 20_000
"""Most prompts to tokenise."""


def probe_machine() -> dict[str, Any]:
    """torch's version and CUDA build, the GPUs it can use, and those the driver reports."""
    gpus, driver_cuda = _driver()
    driver: dict[str, Any] = {"gpus": gpus, "driver_cuda": driver_cuda}
    try:
        import torch
    except Exception as error:  # a library that is missing or built for another machine
        return {**driver, "torch": None, "error": f"{type(error).__name__}: {error}"}
    usable = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return {
        **driver,
        "torch": torch.__version__,
        "cuda_build": torch.version.cuda,
        "usable": usable,
    }


def _driver() -> tuple[list[tuple[str, float]], str | None]:
    """((name, GiB) of each GPU, the newest CUDA version that the driver supports)."""
    if shutil.which("nvidia-smi") is None:
        return [], None
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    listed = subprocess.run(query, capture_output=True, text=True, check=False)
    shown = subprocess.run(["nvidia-smi"], capture_output=True, text=True, check=False).stdout
    rows = [line.rsplit(",", 1) for line in listed.stdout.splitlines() if "," in line]
    cuda = shown.partition("CUDA Version:")[2].split()
    return [(name, float(mib) / 1024) for name, mib in rows], cuda[0] if cuda else None


def probe_policy(request: Mapping[str, Any]) -> dict[str, Any]:
    """Folder and shapes of the base policy; builds the policy first when the config says so.

    For a GGUF file the folder holds only config and tokenizer.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = request["model"]
    if folder is not None and names_gguf(folder):
        folder = _without_weights(Path(folder), request["out"])
    if request["build"] is not None:
        folder = request["out"]
        load_function(request["build"])(Path(folder), request["seed"], **request["build_args"])
    config = AutoConfig.from_pretrained(folder, revision=request["revision"] or "main")
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    shape = config.get_text_config()
    heads = shape.num_attention_heads
    return {
        "folder": str(folder),
        "shape": {
            "parameters": sum(weight.numel() for weight in model.parameters()),
            "layers": shape.num_hidden_layers,
            "hidden": shape.hidden_size,
            "inner": getattr(shape, "intermediate_size", None) or 4 * shape.hidden_size,
            "vocabulary": shape.vocab_size,
            "kv_heads": getattr(shape, "num_key_value_heads", None) or heads,
            "head_dim": getattr(shape, "head_dim", None) or shape.hidden_size // heads,
            "positions": getattr(shape, "max_position_embeddings", None),
        },
    }


def _without_weights(file: Path, out: str) -> str:
    """Write config and tokenizer of a GGUF file to the folder `out`; returns `out`."""
    from dpo_core.gguf.load import load_config, load_tokenizer

    load_config(file).save_pretrained(out)
    load_tokenizer(file).save_pretrained(out)
    return out


def probe_tokens(request: Mapping[str, Any]) -> dict[str, Any]:
    """Token counts of the first prompts, and how many lack BOS or have it twice."""
    from generation.sampling import encode_prompt, load_tokenizer

    tokenizer = load_tokenizer(request["folder"], request["revision"])
    special = read_special_tokens(Path(request["folder"]))
    counts = Counter(prompts=0, longest=0, too_long=0, bos_missing=0, bos_doubled=0)
    for prompt in islice(read_pool(PromptsConfig(**request["prompts"])), MOST_PROMPTS):
        ids = encode_prompt(tokenizer, prompt)
        counts["prompts"] += 1
        counts["longest"] = max(counts["longest"], len(ids))
        counts["too_long"] += len(ids) > request["room"]
        counts.update(find_bos_faults(prompt, ids, special))
    return dict(counts)


def _handle(request: dict[str, Any], report: Report) -> dict[str, Any]:
    if request["op"] == "machine":
        return probe_machine()
    return probe_policy(request) if request["op"] == "policy" else probe_tokens(request)


if __name__ == "__main__":
    serve(_handle)
