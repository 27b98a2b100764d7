"""How a self-contained page is made: templates, scripts by hash, data that cannot end a script."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from platformdirs import user_cache_path

from dpo_core.atomic import write_text
from reporting.plots.model import format_number, format_place

if TYPE_CHECKING:
    from jinja2 import Environment


def render_template(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(**values)


def embed_json(data: Any) -> str:
    """JSON that may stand in a <script> element, whatever text is in it."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return mark_safe(text)


@cache
def read_template(name: str) -> str:
    return files("reporting").joinpath("templates", name).read_text(encoding="utf-8")


@cache
def vega_script() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script.

    It takes a second to make and is the same for every report, so it is kept where caches are,
    under its own hash.
    """
    from vl_convert import javascript_bundle

    kept = user_cache_path("ratchet") / f"vega-{version('vl-convert-python')}.js"
    with suppress(OSError, ValueError):
        digest, script = kept.read_text(encoding="utf-8").split("\n", 1)
        if digest == f"// {csp_hash(script)}":
            return script
    script = javascript_bundle(snippet="window.vegaEmbed = vegaEmbed;")
    with suppress(OSError):  # a report needs no cache
        write_text(kept, f"// {csp_hash(script)}\n{script}")
    return script


def csp_hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def mark_safe(text: str) -> str:
    from markupsafe import Markup

    return Markup(text)


def _environment() -> "Environment":
    from jinja2 import BaseLoader, Environment, StrictUndefined

    class Templates(BaseLoader):
        def get_source(
            self, environment: Environment, template: str
        ) -> tuple[str, str | None, Callable[[], bool] | None]:
            return read_template(template), None, None

    made = Environment(
        loader=Templates(),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["unbroken"] = lambda text: text.replace(" %", "\u00a0%")
    made.filters["breakable"] = _breakable
    made.filters["form"] = format_number
    made.filters["place"] = format_place
    return made


def _breakable(text: str) -> str:
    """Escaped text that may wrap inside long words: browsers take seconds over 100 kB of one."""
    from markupsafe import Markup

    parts = re.sub(r"\S{100}(?=\S{100})", lambda found: found.group() + "\0", text).split("\0")
    return Markup("<wbr>").join(parts)
