"""How a self-contained page is made: templates, scripts by hash, data that cannot end a script."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from flows.show.plots.model import place, written

if TYPE_CHECKING:
    from jinja2 import Environment


def rendered(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(**values)


def embedded(data: Any) -> str:
    """JSON that may stand in a <script> element, whatever text is in it."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return trusted(text)


@cache
def read(name: str) -> str:
    return files("flows.show").joinpath("templates", name).read_text(encoding="utf-8")


@cache
def vega() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script; takes about a second to make."""
    from vl_convert import javascript_bundle

    return javascript_bundle(snippet="window.vegaEmbed = vegaEmbed;")


def csp_hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def trusted(text: str) -> str:
    from markupsafe import Markup

    return Markup(text)


def _environment() -> "Environment":
    from jinja2 import BaseLoader, Environment, StrictUndefined

    class Templates(BaseLoader):
        def get_source(
            self, environment: Environment, template: str
        ) -> tuple[str, str | None, Callable[[], bool] | None]:
            return read(template), None, None

    made = Environment(
        loader=Templates(),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["unbroken"] = lambda text: text.replace(" %", "\u00a0%")
    made.filters["breakable"] = _breakable
    made.filters["form"] = written
    made.filters["place"] = place
    return made


def _breakable(text: str) -> str:
    """Escaped text that may wrap inside long words: browsers take seconds over 100 kB of one."""
    from markupsafe import Markup

    parts = re.sub(r"\S{100}(?=\S{100})", lambda found: found.group() + "\0", text).split("\0")
    return Markup("<wbr>").join(parts)
