"""Building self-contained HTML pages: templates, script hashes, embedded data."""

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

from dpo_core.atomic import write_text
from dpo_core.user_cache import user_cache
from reporting.plots.model import format_place, format_point_interval

if TYPE_CHECKING:
    from jinja2 import Environment


_INTERVAL = re.compile(r" \[[^\]\n]{3,40}\]")


def render_template(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(**values)


def embed_json(data: Any) -> str:
    """JSON that is safe inside a <script> element, whatever text it holds."""
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

    Bundling takes a second and gives the same result for every report, so it is cached on disk and
    verified by its hash.
    """
    from vl_convert import javascript_bundle

    cache_file = user_cache() / f"vega-{version('vl-convert-python')}.js"
    with suppress(OSError, ValueError):
        digest, script = cache_file.read_text(encoding="utf-8").split("\n", 1)
        if digest == f"// {csp_hash(script)}":
            return script
    script = javascript_bundle(snippet="window.vegaEmbed = vegaEmbed;")
    with suppress(OSError):  # the cache is optional
        write_text(cache_file, f"// {csp_hash(script)}\n{script}")
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

    environment = Environment(
        loader=Templates(),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["unbroken"] = _unbroken
    environment.filters["breakable"] = _breakable
    environment.filters["codes"] = _codes
    environment.filters["with_interval"] = format_point_interval
    environment.filters["place"] = format_place
    return environment


def _unbroken(text: str) -> str:
    """A number and its interval stay on one line."""
    from markupsafe import Markup, escape

    return Markup(_INTERVAL.sub(lambda found: found[0].replace(" ", "\u00a0"), str(escape(text))))


def _codes(text: str) -> str:
    """Escaped text whose `quoted` parts are code."""
    from markupsafe import Markup, escape

    parts = [str(escape(part)) for part in text.split("`")]
    marked = [f"<code>{part}</code>" if at % 2 else part for at, part in enumerate(parts)]
    return Markup("".join(marked))


def _breakable(text: str) -> str:
    """Escaped text that may wrap inside long words; browsers need seconds for a word of 100 kB."""
    from markupsafe import Markup

    parts = re.sub(r"\S{100}(?=\S{100})", lambda match: match.group() + "\0", text).split("\0")
    return Markup("<wbr>").join(parts)
