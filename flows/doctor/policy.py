"""Checks of the policy's files: weights, tokenizer, EOS, chat template, context length."""

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
    """The base policy's folder or GGUF file; None if it is built or on the hub."""
    model = config.policy.model
    if model is None or not (names_gguf(model) or Path(model).is_dir()):
        return None
    return Path(model)


def check_files(folder: Path) -> Iterator[DoctorFinding]:
    """Whether the folder holds a model and a tokenizer whose answers can end."""
    if names_gguf(folder):
        yield from _check_gguf(folder)
        return
    if not (folder / "config.json").exists():
        yield problem(
            "policy",
            f"{folder} holds no model: config.json is missing",
            "policy.model",
            "Name the folder that save_pretrained wrote.",
        )
        return
    if not any(folder.glob(WEIGHTS)) and not any(folder.glob("*.bin")):
        remedy = "Copy them there, or name another folder."
        yield problem("policy", f"{folder} has no weights", "policy.model", remedy)
    if (file := find_torn_file(folder)) is not None:
        remedy = "Copy it there again."
        yield problem("policy", f"{file} is not a whole weights file", "policy.model", remedy)
    if not any((folder / name).exists() for name in _TOKENIZERS):
        remedy = "Save the tokenizer there: tokenizer.save_pretrained(folder)."
        yield problem("policy", f"{folder} has no tokenizer", "policy.model", remedy)
        return
    yield from check_ends(folder)


def _check_gguf(file: Path) -> Iterator[DoctorFinding]:
    """Whether the file is complete and holds a tokenizer with an EOS."""
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
            f"{file} defines no EOS token, so every answer would be truncated at "
            "sampling.max_tokens",
            "policy.model",
            "Convert the model again with tokenizer.ggml.eos_token_id, or give its folder.",
        )
    else:
        ends = " or ".join(map(str, header.ends))
        yield ok("eos", f"answers end with token {ends}", str(file))


def check_ends(folder: Path) -> Iterator[DoctorFinding]:
    """Whether there is an EOS token, and the generation config names it."""
    ends = read_special_tokens(folder).eos
    if not ends:
        yield problem(
            "eos",
            "neither the generation config nor the tokenizer defines an EOS token, so every answer "
            "would be truncated at sampling.max_tokens",
            str(folder),
            "Set eos_token_id in generation_config.json, eos_token in tokenizer_config.json.",
        )
        return
    generation = read_json(folder / "generation_config.json").get("eos_token_id")
    if generation is None and read_json(folder / "config.json").get("eos_token_id") is None:
        yield note(
            "eos",
            f"only the tokenizer defines the EOS token ({min(ends)})",
            str(folder),
            "Set eos_token_id in generation_config.json, where other tools look for it.",
        )
        return
    yield ok("eos", f"answers end with token {' or '.join(map(str, sorted(ends)))}", str(folder))


def check_template(folder: Path, *, chat: bool) -> DoctorFinding:
    """Whether chat prompts have a chat template, and plain prompts need none."""
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
            "the policy has a chat template, but prompts are plain text and bypass it",
            "prompts",
            "For a chat model, write prompts as `messages`.",
        )
    return ok("chat template", "present" if has else "none; plain prompts need none")


def has_template(folder: Path) -> bool:
    if names_gguf(folder):
        try:
            return read_header(folder).has_chat_template
        except BadInput:  # reported by check_files
            return False
    settings = read_json(folder / "tokenizer_config.json")
    return bool(settings.get("chat_template")) or (folder / "chat_template.jinja").exists()


def check_length(folder: Path, config: CampaignConfig) -> DoctorFinding:
    """Whether prompt and answer fit the model's context."""
    shape, length = read_shape(folder), config.sampling.max_model_len
    answer = config.sampling.max_tokens
    if shape is None or shape.positions is None:
        return ok("length", "the model states no context length", str(folder))
    context = shape.positions
    if (length or answer + 1) <= context:
        return ok("length", f"sequences of up to {length or context:,} tokens", str(folder))
    what = f"sampling.max_tokens {answer:,} leaves no room for a prompt in"
    if length is not None:
        what = f"sampling.max_model_len {length:,} exceeds"
    remedy = f"Set sampling.max_model_len: {context}"
    if answer >= context:
        remedy += f" and sampling.max_tokens to at most {context - 1}, less the longest prompt"
    where = "sampling.max_model_len, sampling.max_tokens"
    return problem("length", f"{what} the model's context of {context:,}", where, f"{remedy}.")
