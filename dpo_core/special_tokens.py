"""A policy's BOS and EOS ids, from the files beside its weights.

They are read as JSON: the orchestrator loads no model library.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from dpo_core.chat_template import ChatTemplate


@dataclass(frozen=True)
class SpecialTokens:
    """eos: every id that ends an answer. plain_bos: whether the tokenizer begins plain text with
    `bos`. bos_token: the text of `bos`. template: the chat template."""

    eos: frozenset[int] = frozenset()
    bos: int | None = None
    plain_bos: bool = False
    bos_token: str = ""
    template: ChatTemplate | None = None

    def chat_bos(self, messages: Sequence[Mapping[str, str]]) -> int | None:
        """How many BOS the chat template writes around these messages; None where unknown."""
        if self.template is None or not self.bos_token:
            return None
        return self.template.count(self.bos_token, messages)


def read_special_tokens(policy: Path) -> SpecialTokens:
    """Special tokens of a policy in a folder that `save_pretrained` wrote."""
    model, generation = _read(policy / "config.json"), _read(policy / "generation_config.json")
    settings, tokenizer = _read(policy / "tokenizer_config.json"), _read(policy / "tokenizer.json")
    ids = {token["content"]: token["id"] for token in tokenizer.get("added_tokens") or ()}
    for number, token in (settings.get("added_tokens_decoder") or {}).items():
        ids[token["content"]] = int(number)
    bos_token = _content(settings.get("bos_token"))
    bos = ids.get(bos_token) if settings else next(_ids(model.get("bos_token_id")), None)
    own = ids.get(_content(settings.get("eos_token")))
    # Multimodal models have it in their text part.
    of_text = model.get("text_config") or {}
    ends = generation.get("eos_token_id") or model.get("eos_token_id", of_text.get("eos_token_id"))
    # Tokenizers with a switch name it here; for the others the post-processor decides.
    adds = settings.get("add_bos_token")
    in_template = bos_token in _template_tokens(tokenizer.get("post_processor"))
    return SpecialTokens(
        eos=frozenset((*_ids(ends), *_ids(own))),
        bos=bos,
        plain_bos=bos is not None and bool(in_template if adds is None else adds),
        bos_token=bos_token if bos is not None else "",
        template=_template(policy, settings),
    )


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def _ids(value: Any) -> Iterator[int]:
    if value is not None:
        yield from value if isinstance(value, list) else [value]


def _content(token: Any) -> str:
    """A token as text; older files hold a mapping."""
    return str(token["content"] if isinstance(token, dict) else token or "")


class _PostProcessor(TypedDict, total=False):
    single: list[object] | None
    processors: list["_PostProcessor"] | None


def _template_tokens(processor: _PostProcessor | None) -> set[str]:
    """Special tokens that a tokenizer's post-processor adds to a single text."""
    if not processor:
        return set()
    tokens = {
        part["SpecialToken"]["id"]
        for part in processor.get("single") or ()
        if isinstance(part, dict) and "SpecialToken" in part
    }
    for inner in processor.get("processors") or ():
        tokens |= _template_tokens(inner)
    return tokens


def _template(policy: Path, settings: Mapping[str, object]) -> ChatTemplate | None:
    """The chat template for prompts; among several, the one named `default`."""
    file = policy / "chat_template.jinja"
    source = file.read_text(encoding="utf-8") if file.exists() else settings.get("chat_template")
    if isinstance(source, list):
        source = next((entry["template"] for entry in source if entry["name"] == "default"), None)
    named = {key: _content(token) for key, token in settings.items() if key.endswith("_token")}
    strings = {key: text for key, text in named.items() if isinstance(settings[key], str | dict)}
    parts = tuple(sorted(strings.items()))
    return ChatTemplate(source, parts) if source and isinstance(source, str) else None
