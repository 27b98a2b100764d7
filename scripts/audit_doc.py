"""The tables of docs/audit.md, from the checks and the section they read."""

import json
from pathlib import Path

from labeling.audit.checks import CHECKS
from labeling.audit.config import AuditConfig

PAGE = Path(__file__).parents[1] / "docs" / "audit.md"


def page(text: str) -> str:
    """The page with its tables as they must be."""
    for name, lines in (("findings", _findings()), ("options", _options())):
        begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->"
        before, rest = text.split(begin)
        text = before + begin + "\n".join(lines) + "\n" + end + rest.split(end)[1]
    return text


def _findings() -> list[str]:
    rows = [f"| `{name}` | {c.what} | {c.stops} |" for name, c in CHECKS.items()]
    return ["| finding | what is counted | blocks |", "|---|---|---|", *rows]


def _options() -> list[str]:
    rows = [
        f"| `{name}` | `{json.dumps(field.get_default())}` | {field.description} |"
        for name, field in AuditConfig.model_fields.items()
    ]
    return ["| key of `audit` | default | what it is |", "|---|---|---|", *rows]


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
