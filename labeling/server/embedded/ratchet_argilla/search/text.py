"""Text search in the fields of records.

`two words` requires both, `"a phrase"` the exact phrase, `-not` excludes, `this | that` requires
one of the two. Elasticsearch matches words; this matches a term anywhere in a text, ignoring case,
so it also finds parts of words and text in languages without spaces.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from argilla_server.models import Record
from argilla_server.search_engine.base import TextQuery
from sqlalchemy import Boolean, ColumnElement, and_, func, not_, or_, true

FUNCTION = "ratchet_contains"
"""SQLite's name for `contains`; its own LIKE ignores case only for ASCII letters."""

_TERM = re.compile(r'([-+]?)(?:"([^"]*)"?|([^\s|"]+))|(\|)')


@dataclass(frozen=True)
class Term:
    text: str
    wanted: bool = True


def condition(query: TextQuery | str) -> ColumnElement[bool]:
    query = TextQuery(q=query) if isinstance(query, str) else query
    alternatives = [
        and_(*[_holds(term, query.field) for term in terms]) for terms in parse(query.q)
    ]
    return or_(*alternatives) if alternatives else true()


def parse(query: str) -> list[list[Term]]:
    """Alternatives, each a list of terms that must all hold. No terms: everything matches."""
    alternatives: list[list[Term]] = [[]]
    for sign, phrase, word, bar in _TERM.findall(query):
        text = phrase or word.strip("*()~")
        if bar:
            alternatives.append([])
        elif text.strip():
            alternatives[-1].append(Term(text.casefold(), sign != "-"))
    return [terms for terms in alternatives if terms]


def _holds(term: Term, field: str | None) -> ColumnElement[bool]:
    holds = getattr(func, FUNCTION)(Record.fields, field, term.text, type_=Boolean)
    return holds if term.wanted else not_(holds)


def contains(fields: str, field: str | None, term: str) -> bool:
    """Whether the record's fields, or one of them, contain the casefolded term."""
    values = json.loads(fields)
    searched = values if field is None else [values.get(field)]
    return any(term in text.casefold() for text in _texts(searched))


def _texts(value: Any) -> Iterator[str]:
    """Every text except the roles of a chat, which would match in every record."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        message = set(value) == {"role", "content"}
        for key, item in value.items():
            if not (message and key == "role"):
                yield from _texts(item)
