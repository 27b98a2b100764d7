"""The policy's files: a model, its tokenizer, what ends its answers, its chat template."""

from collections.abc import Iterator
from pathlib import Path

from dpo_core.errors import BadInput
from dpo_core.gguf.header import names_gguf, read_header
from dpo_core.model_shape import read_json, read_shape
from dpo_core.special_tokens import read_special_tokens
from dpo_core.weight_files import WEIGHTS, find_torn_file
from flows.config import CampaignConfig
from flows.doctor.findings import DoctorFinding, note, ok, problem

_TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json")


def local_policy(config: CampaignConfig) -> Path | None:
    """The folder or GGUF file that the config names as the base policy; None: built, or on the
    hub."""
    model = config.policy.model
    if model is None or not (names_gguf(model) or Path(model).is_dir()):
        return None
    return Path(model)


def check_files(folder: Path) -> Iterator[DoctorFinding]:
    """A model and a tokenizer lie there, and an answer can end."""
    if names_gguf(folder):
        yield from _check_gguf(folder)
        return
    if not (folder / "config.json").exists():
        yield problem(
            "policy",
            f"{folder} has no config.json: it holds no model",
            "policy.model",
            "Name the folder that save_pretrained wrote.",
        )
        return
    if not any(folder.glob(WEIGHTS)) and not any(folder.glob("*.bin")):
        remedy = "Copy them there, or name another folder."
        yield problem("policy", f"{folder} has no weights", "policy.model", remedy)
    if (file := find_torn_file(folder)) is not None:
        remedy = "Copy it there again, whole."
        yield problem("policy", f"{file} is no file of weights", "policy.model", remedy)
    if not any((folder / name).exists() for name in _TOKENIZERS):
        remedy = "Save the tokenizer there too: tokenizer.save_pretrained(folder)."
        yield problem("policy", f"{folder} has no tokenizer", "policy.model", remedy)
        return
    yield from check_ends(folder)


def _check_gguf(file: Path) -> Iterator[DoctorFinding]:
    """The file is whole, and holds a tokenizer that ends answers."""
    try:
        header = read_header(file)
    except BadInput as error:
        yield problem("policy", error.message, "policy.model", error.remedy)
        return
    if "tokenizer.ggml.tokens" not in header.values:
        remedy = "Give a file that was converted with its tokenizer, or the model's folder."
        yield problem("policy", f"{file} holds no tokenizer", "policy.model", remedy)
    elif not header.ends:
        yield problem(
            "eos",
            f"{file} names no token that ends an answer, so every answer would be cut at "
            "sampling.max_tokens",
            "policy.model",
            "Convert the model anew with tokenizer.ggml.eos_token_id, or give its folder.",
        )
    else:
        ends = " or ".join(map(str, header.ends))
        yield ok("eos", f"answers end with token {ends}", str(file))


def check_ends(folder: Path) -> Iterator[DoctorFinding]:
    """Some token ends an answer, and the generation config knows the tokenizer's."""
    ends = read_special_tokens(folder).eos
    if not ends:
        yield problem(
            "eos",
            "neither the generation config nor the tokenizer names a token that ends an answer, so "
            "every answer would be cut at sampling.max_tokens",
            str(folder),
            "Set eos_token_id in generation_config.json, eos_token in tokenizer_config.json.",
        )
        return
    generation = read_json(folder / "generation_config.json").get("eos_token_id")
    if generation is None and read_json(folder / "config.json").get("eos_token_id") is None:
        yield note(
            "eos",
            f"only the tokenizer says which token ends an answer ({min(ends)})",
            str(folder),
            "Set eos_token_id in generation_config.json: other tools look there.",
        )
        return
    yield ok("eos", f"answers end with token {' or '.join(map(str, sorted(ends)))}", str(folder))


def check_template(folder: Path, *, chat: bool) -> DoctorFinding:
    """Prompts of chat messages need a template."""
    has = has_template(folder)
    if chat and not has:
        return problem(
            "chat template",
            "prompts are chat messages, but the policy's tokenizer has no chat template",
            "prompts",
            "Give plain `prompt` text, or a policy with a chat template.",
        )
    if has and not chat:
        return note(
            "chat template",
            "the policy has a chat template, but prompts are plain text, which goes in as it is",
            "prompts",
            "For a chat model, write prompts as `messages`.",
        )
    return ok("chat template", "there is one" if has else "none, and plain prompts need none")


def has_template(folder: Path) -> bool:
    if names_gguf(folder):
        try:
            return read_header(folder).has_chat_template
        except BadInput:  # which is a finding of its own
            return False
    settings = read_json(folder / "tokenizer_config.json")
    return bool(settings.get("chat_template")) or (folder / "chat_template.jinja").exists()


def check_length(folder: Path, config: CampaignConfig) -> DoctorFinding:
    """The model has as many positions as the config wants."""
    shape, wanted = read_shape(folder), config.sampling.max_model_len
    if shape is None or shape.positions is None:
        return ok("length", "the model names no longest sequence", str(folder))
    if (wanted or config.sampling.max_tokens + 1) > shape.positions:
        return problem(
            "length",
            f"the model has {shape.positions:,} positions, the config wants "
            f"{wanted or config.sampling.max_tokens + 1:,}",
            "sampling.max_model_len, sampling.max_tokens",
            f"Set the first to {shape.positions:,} at most, and the second below it, with room for "
            "the prompt.",
        )
    return ok("length", f"sequences of {wanted or shape.positions:,} tokens", str(folder))
