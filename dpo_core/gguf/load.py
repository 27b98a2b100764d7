"""Load a GGUF file as a transformers model: float32, savable, with its own tokenizer."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tokenizers import pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import quantization_config

from dpo_core.errors import BadInput
from dpo_core.full_disk import is_out_of_space
from dpo_core.gguf.header import GgufHeader, check_package, read_header

_FILE = "model.gguf"
_READS_SCALING = ("gpt-oss",)
"""Architectures whose rotary scaling transformers reads from the file."""


def load_model(path: Path) -> Any:
    """The model, its weights dequantised to float32.

    float32 holds every value of a block exactly; bfloat16 would round it again. Raises BadInput
    where transformers cannot read the file, or would load a different model from it.
    """
    header = read_header(path)
    _check_rotary(path, header)
    with _alone(path) as (folder, file):
        model, info = AutoModelForCausalLM.from_pretrained(
            folder, dtype="float32", output_loading_info=True, **file, **_dense()
        )
    if info["missing_keys"] or info["mismatched_keys"]:
        missing = sorted([*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])])
        raise BadInput(
            f"{path} lacks {len(missing)} weights of its model, such as {missing[0]}",
            "Convert the model again with a current llama.cpp, or give its folder.",
        )
    if len(header.ends) > 1:  # transformers takes the first
        model.generation_config.eos_token_id = header.ends
    return model


def load_config(path: Path) -> Any:
    """The model's config. Raises BadInput as `load_model` does."""
    _check_rotary(path, read_header(path))
    with _alone(path) as (folder, file):
        return AutoConfig.from_pretrained(folder, **file)


def load_tokenizer(path: Path) -> Any:
    """The tokenizer, with the chat template. Raises BadInput where transformers cannot read it."""
    header = read_header(path)
    begins = header.values.get("tokenizer.ggml.add_bos_token")
    # transformers does not read this key; without it no plain text would begin with BOS.
    options = {} if begins is None else {"add_bos_token": begins}
    with _alone(path) as (folder, file):
        tokenizer = AutoTokenizer.from_pretrained(folder, **file, **options)
    if header.values.get("tokenizer.ggml.pre") == "smollm":
        # transformers uses GPT-2's here, which does not split digits from preceding characters.
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
    return tokenizer


@contextmanager
def _alone(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """(folder, keywords) for `from_pretrained`: the file alone in a folder.

    Files beside it, such as a tokenizer_config.json, then have no effect. Raises BadInput for any
    error of transformers.
    """
    check_package()
    with TemporaryDirectory(prefix="ratchet-gguf-") as folder:
        (Path(folder) / _FILE).symlink_to(path.absolute())
        try:
            yield folder, {"gguf_file": _FILE}
        except Exception as error:  # any kind: the file is third-party input
            if is_out_of_space(error) or isinstance(error, MemoryError):
                raise
            raise BadInput(
                f"transformers cannot read {path}: "
                f"{_first_line(error).replace(f'{folder}/{_FILE}', path.name)}",
                "Give another file, the model's folder, or its hub id.",
            ) from error


def _first_line(error: Exception) -> str:
    """The first line of a library's error, with its type where the text alone says too little."""
    lines = str(error).strip().splitlines()
    if lines and isinstance(error, OSError | ValueError | NotImplementedError):
        return lines[0]
    return ": ".join([type(error).__name__, *lines[:1]])


def _check_rotary(path: Path, header: GgufHeader) -> None:
    factors = [name for name in header.tensors if name.startswith("rope_")]
    scaling = header.of_model("rope.scaling.type")
    if header.architecture in _READS_SCALING or not (factors or scaling not in (None, "none")):
        return
    raise BadInput(
        f"{path} scales its rotary embedding ({factors[0] if factors else scaling}), which "
        "transformers ignores: it would load a different model",
        "Give the model's folder or its hub id.",
    )


def _dense() -> dict[str, object]:
    """Keywords for dequantised weights. Without them transformers 5.19 marks the model as quantised
    and refuses to save it; 5.16 has no such option and needs none."""
    options = getattr(quantization_config, "GgufConfig", None)
    return {} if options is None else {"quantization_config": options(dequantize=True)}
