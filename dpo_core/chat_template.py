"""What a policy's chat template writes, without its tokenizer: to count what it says itself.

Templates come with models, so they run in Jinja's sandbox, and see neither clock nor tools.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment


@dataclass(frozen=True)
class ChatTemplate:
    """`tokens`: (name, text) of the special tokens that the template may name."""

    source: str
    tokens: tuple[tuple[str, str], ...] = ()

    def count(self, token: str, messages: Sequence[Mapping[str, str]]) -> int | None:
        """How often the template itself writes `token` around a prompt of these messages.

        None where it does not take them, or cannot be read.
        """
        said = [{**m, "content": m["content"].replace(token, "")} for m in messages]
        try:
            written: str = _compiled(self.source).render(
                messages=said, add_generation_prompt=True, tools=None, **dict(self.tokens)
            )
        except (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError):
            return None
        return written.count(token)


@lru_cache(maxsize=8)
def _compiled(source: str) -> Any:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation]
    )
    environment.globals |= {"raise_exception": _refuse, "strftime_now": lambda _: ""}
    return environment.from_string(source)


def _refuse(message: str) -> None:
    raise TemplateError(message)


class _Generation(Extension):
    """`{% generation %}` marks what the model said; for what is written it means nothing."""

    tags = {"generation"}  # noqa: RUF012 -- as jinja2 declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)
