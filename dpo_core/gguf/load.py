"""A GGUF file as a model of transformers: float32, savable, with the tokenizer that it holds."""

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
"""Architectures whose rotary scaling transformers takes from the file."""


def load_model(path: Path) -> Any:
    """The model, its weights dequantised to float32.

    float32 holds every value of a block as the file means it, which bfloat16 would round again.
    Raises BadInput where transformers cannot read the file, or would make another model of it.
    """
    header = read_header(path)
    _check_rotary(path, header)
    with _alone(path) as (folder, file):
        model, found = AutoModelForCausalLM.from_pretrained(
            folder, dtype="float32", output_loading_info=True, **file, **_dense()
        )
    if found["missing_keys"] or found["mismatched_keys"]:
        lacking = sorted([*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])])
        raise BadInput(
            f"{path} lacks {len(lacking)} weights of its model, {lacking[0]} for one",
            "Convert the model anew with a current llama.cpp, or give its folder.",
        )
    if len(header.ends) > 1:  # transformers takes the first
        model.generation_config.eos_token_id = header.ends
    return model


def load_config(path: Path) -> Any:
    """The config of its model. Raises BadInput as load_model does."""
    _check_rotary(path, read_header(path))
    with _alone(path) as (folder, file):
        return AutoConfig.from_pretrained(folder, **file)


def load_tokenizer(path: Path) -> Any:
    """The tokenizer, with the chat template. Raises BadInput where there is none in the file that
    transformers can read."""
    header = read_header(path)
    begins = header.values.get("tokenizer.ggml.add_bos_token")
    # Left out of what transformers reads: without it no plain text would begin with BOS.
    wanted = {} if begins is None else {"add_bos_token": begins}
    with _alone(path) as (folder, file):
        tokenizer = AutoTokenizer.from_pretrained(folder, **file, **wanted)
    if header.values.get("tokenizer.ggml.pre") == "smollm":
        # transformers takes GPT-2's for it, which keeps digits together with what stands before.
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
    return tokenizer


@contextmanager
def _alone(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """(folder, keywords) for `from_pretrained`: the file in a folder of its own, so that nothing
    that lies beside it, such as a tokenizer_config.json, has a say. Raises BadInput in one sentence
    for whatever transformers cannot do with it."""
    check_package()
    with TemporaryDirectory(prefix="ratchet-gguf-") as folder:
        (Path(folder) / _FILE).symlink_to(path.absolute())
        try:
            yield folder, {"gguf_file": _FILE}
        except Exception as error:  # of whatever kind: the file is of others
            if is_out_of_space(error) or isinstance(error, MemoryError):
                raise
            raise BadInput(
                f"transformers cannot read {path}: "
                f"{_first_line(error).replace(f'{folder}/{_FILE}', path.name)}",
                "Give another file, the model's folder, or its id on the hub.",
            ) from error


def _first_line(error: Exception) -> str:
    """What a library says; of a key or an index that is all it says, with what kind of error."""
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
        "transformers leaves out: it would be another model",
        "Give the model's folder or its id on the hub.",
    )


def _dense() -> dict[str, Any]:
    """Keywords that have weights dequantised: transformers 5.19 else marks the model as quantised,
    and refuses to save it; 5.16 has no such option, and needs none."""
    options = getattr(quantization_config, "GgufConfig", None)
    return {} if options is None else {"quantization_config": options(dequantize=True)}
