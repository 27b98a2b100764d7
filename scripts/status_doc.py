"""Write docs/status.schema.json and docs/status-json.md from reporting.as_json; `make docs` runs
this."""

import json
from pathlib import Path
from typing import Any

from reporting.as_json import VERSION, schema

HEAD = f"""# What `ratchet status --json` prints

One JSON object, version {VERSION}; [status.schema.json](status.schema.json) is its JSON schema
(draft 2020-12). The version grows if a key is removed or renamed, or changes its meaning or type.
New keys leave it unchanged, so ignore keys you do not know. A missing number is null, never NaN.
Texts come unescaped from the campaign: show them with care.

```bash
ratchet status CAMPAIGN --json | jq '.rounds[-1] | {{round, win_rate_base, kl_base_nats, money}}'
```

| key | type | meaning |
|---|---|---|
"""
TAIL = """
Each of `rounds` has every column of [metrics.md](metrics.md), where columns that are JSON text in
`metrics.parquet` are objects or arrays; `measure_<name>` for each measure of a judge; and
`decision`, the gate's sentence. There may be more keys.
"""


def page() -> str:
    """The page as it should be on disk."""
    found = schema()["properties"]
    rows = [
        f"| `{name}` | {_kind(shape)} | {shape['description']} |" for name, shape in found.items()
    ]
    return HEAD + "\n".join(rows) + "\n" + TAIL


def schema_text() -> str:
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def _kind(shape: dict[str, Any]) -> str:
    if "const" in shape:
        return f"{shape['const']}"
    if "enum" in shape:
        return ", ".join(shape["enum"])
    kinds = shape["type"]
    return kinds if isinstance(kinds, str) else " or ".join(kinds)


if __name__ == "__main__":
    Path("docs/status-json.md").write_text(page(), encoding="utf-8")
    Path("docs/status.schema.json").write_text(schema_text(), encoding="utf-8")
