"""Renders a policy's chat template without its tokenizer, to count special tokens in its output.

Templates come with models, so they run in Jinja's sandbox, without a clock or tools.
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
    """source: of the template. tokens: (name, text) of special tokens that it may refer to."""

    source: str
    tokens: tuple[tuple[str, str], ...] = ()

    def count(self, token: str, messages: Sequence[Mapping[str, str]]) -> int | None:
        """How often the template writes `token` around these messages, not counting their text.

        None where it cannot be rendered.
        """
        cleaned = [{**m, "content": m["content"].replace(token, "")} for m in messages]
        try:
            rendered: str = _compiled(self.source).render(
                messages=cleaned, add_generation_prompt=True, tools=None, **dict(self.tokens)
            )
        except (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError):
            return None
        return rendered.count(token)


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
    """`{% generation %}` marks the model's turns; it does not change the rendered text."""

    tags = {"generation"}  # noqa: RUF012 -- as jinja2 declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)
