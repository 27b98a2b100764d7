"""The console as an ASGI application: pages, fragments of them, and a stream of changes.

Text of models is escaped, and the pages' content security policy allows no script but their own.
Everything that acts is a POST with the token of this start, besides what `dpo_core.web_guard` asks.
"""

import asyncio
import hmac
import math
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from console.actions import ACTIONS, CommandLine, Outcome
from console.campaigns import Board, ShownCampaign, Signature
from console.decision import read_decision
from console.label_proxy import LabelNames
from console.labels import label_link
from console.recipes import changed_words, list_recipes, recipe_fields
from console.rows import campaign_row, list_tasks, say_headline
from dpo_core.errors import BadInput, RatchetError
from reporting.at_a_glance import at_a_glance
from reporting.compare.render import render_page as render_comparison_page
from reporting.compare.sides import read_comparison
from reporting.report import render_report
from reporting.sentences import cautions, progress, verdict
from reporting.summary import read_summary
from reporting.verdicts import judge_campaign, judge_round

if TYPE_CHECKING:
    from jinja2 import Environment

HOME = "/"
PREFIX = "/console"
"""Everything but the home page lies below it: Prefect's pages have the other addresses."""

_HERE = Path(__file__).parent
_LOG_BYTES = 40_000
_LOOKS_EVERY_S = 1.0
_POLICY = "; ".join(
    (
        *("default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'"),
        *("img-src 'self' data:", "form-action 'self'", "frame-ancestors 'none'"),
        "base-uri 'none'",
    )
)


@dataclass
class Console:
    """places: folders of campaigns, or with campaigns in them. runs: address of Prefect's pages;
    empty without a worker."""

    places: tuple[Path, ...]
    command: CommandLine
    runs: str = ""
    token: str = field(default_factory=partial(secrets.token_urlsafe, 24), repr=False)

    def __post_init__(self) -> None:
        self.board = Board(self.places, self.command.worker)
        self.label_names = LabelNames(self.command.folder)
        self._looking = Lock()
        self._looked: tuple[float, Signature] = -math.inf, ()
        Thread(target=self.board.all, daemon=True).start()  # the first page need not wait for it

    # ── pages ────────────────────────────────────────────────────────────────────────────────────

    def home(self, request: Request) -> Response:
        return self._page("home.html.j2", **self._home())

    def overview(self, request: Request) -> Response:
        """The part of the home page that changes."""
        return self._page("overview.html.j2", **self._home())

    def _home(self) -> Mapping[str, Any]:
        campaigns = self.board.all()
        return {
            "rows": [campaign_row(shown) for shown in campaigns],
            "tasks": [*list_tasks(campaigns)],
        }

    def campaign(self, request: Request) -> Response:
        return self._page("campaign.html.j2", **self._campaign(self._shown(request)))

    def state(self, request: Request) -> Response:
        """The part of a campaign's page that changes."""
        return self._page("state.html.j2", **self._campaign(self._shown(request)))

    def _campaign(self, shown: ShownCampaign) -> Mapping[str, Any]:
        summary = shown.summary
        level = summary.settings.confidence if summary is not None else 0.95
        rounds = summary.rounds if summary is not None else ()
        return {
            "shown": shown,
            "summary": summary,
            "row": campaign_row(shown),
            "headline": say_headline(shown),
            "progress": progress(summary) if summary is not None else "",
            "glance": at_a_glance(summary) if summary is not None else (),
            "verdict": judge_campaign(summary) if summary is not None else None,
            "rounds": [
                (one.round, judge_round(summary, one), verdict(one, level), cautions(summary, one))
                for one in reversed(rounds)
                if summary is not None
            ],
            "tasks": [*list_tasks([shown])],
        }

    def decision(self, request: Request) -> Response:
        shown = self._shown(request)
        question = read_decision(shown)
        if question is None:
            return self._page("campaign.html.j2", **self._campaign(shown))
        return self._page("decision.html.j2", shown=shown, question=question)

    def label(self, request: Request) -> Response:
        """To the labels that are asked for, signed in where the label server is one of ours."""
        shown = self._shown(request)
        if shown.waiting is None or not shown.waiting.url:
            return RedirectResponse(f"{PREFIX}/campaign/{shown.id}", 303)
        return RedirectResponse(label_link(shown, self.label_names, request), 303)

    def report(self, request: Request) -> Response:
        """The report as it is now, whatever `report.html` says; with its own policy for scripts."""
        shown = self._shown(request)
        return HTMLResponse(render_report(read_summary(shown.root)))

    def compare(self, request: Request) -> Response:
        """Any campaigns, side by side: `?c=ID&c=ID`."""
        found = [self.board.find(id) for id in request.query_params.getlist("c")]
        roots = [shown.root for shown in found if shown is not None]
        if len(roots) < 2:
            raise BadInput("a comparison needs two campaigns", "Tick two or more of them.")
        return HTMLResponse(render_comparison_page(read_comparison(roots)))

    def logs(self, request: Request) -> Response:
        shown = self._shown(request)
        files = sorted(
            shown.layout.log("any").parent.glob("*.log"),
            key=lambda path: path.stat().st_mtime,
            reverse=True,
        )
        chosen = request.query_params.get("file", files[0].name if files else "")
        path = next((path for path in files if path.name == chosen), None)
        text = _end_of(path) if path is not None else "Nothing has been written yet."
        name = "log.html.j2" if "HX-Request" in request.headers else "logs.html.j2"
        names = [path.name for path in files]
        return self._page(name, shown=shown, files=names, chosen=chosen, text=text)

    def start(self, request: Request) -> Response:
        return self._page("start.html.j2", recipes=list_recipes(self.command.folder))

    def recipe(self, request: Request) -> Response:
        path = request.query_params.get("config", "")
        fields = recipe_fields(self.command.folder, path)
        return self._page("recipe.html.j2", config=path, fields=fields)

    # ── what acts ────────────────────────────────────────────────────────────────────────────────

    async def act(self, request: Request) -> Response:
        form = await self._form(request)
        action = ACTIONS.get(request.path_params["action"])
        if action is None:
            return PlainTextResponse("there is no such action", 404)
        shown = await run_in_threadpool(self._shown, request)
        if action.worker and self.command.worker is None:
            raise BadInput(f"{action.label} needs a worker", "Start the console by `ratchet up`.")
        outcome = await self.command.run(action.words(shown.root, form))
        return self._said(request, outcome, f"{PREFIX}/campaign/{shown.id}")

    async def check(self, request: Request) -> Response:
        """The doctor's findings about a form."""
        return await self._with_form(request, "doctor")

    async def submit(self, request: Request) -> Response:
        if self.command.worker is None:
            raise BadInput("a campaign needs a worker", "Start the console by `ratchet up`.")
        return await self._with_form(request, "submit")

    async def _with_form(self, request: Request, command: str) -> Response:
        form = await self._form(request)
        config = form.get("config", "")
        fields = await run_in_threadpool(recipe_fields, self.command.folder, config)
        outcome = await self.command.run([command, config, *changed_words(fields, form)])
        return self._said(request, outcome, HOME)

    async def _form(self, request: Request) -> Mapping[str, str]:
        form = {name: str(value) for name, value in (await request.form()).items()}
        if not hmac.compare_digest(form.get("token", "").encode(), self.token.encode()):
            raise BadInput(
                "this page is of an earlier start of the console", "Load it again, then repeat it."
            )
        return form

    def _said(self, request: Request, outcome: Outcome, back: str) -> Response:
        name = "outcome.html.j2" if "HX-Request" in request.headers else "said.html.j2"
        return self._page(name, outcome=outcome, back=back)

    # ── changes ──────────────────────────────────────────────────────────────────────────────────

    async def changes(self, request: Request) -> Response:
        """Server-sent events: one named `changed` whenever a campaign has."""
        return StreamingResponse(self._changes(request), media_type="text/event-stream")

    async def _changes(self, request: Request) -> AsyncIterator[str]:
        before = await run_in_threadpool(self._look)
        yield ": listening\n\n"
        while not await request.is_disconnected():
            await asyncio.sleep(_LOOKS_EVERY_S)
            now = await run_in_threadpool(self._look)
            yield "event: changed\ndata: \n\n" if now != before else ": nothing new\n\n"
            before = now

    def _look(self) -> Signature:
        """The board's signature: one look at the disk for all open pages."""
        with self._looking:
            if time.monotonic() - self._looked[0] >= _LOOKS_EVERY_S:
                self._looked = time.monotonic(), self.board.signature()
            return self._looked[1]

    # ── parts ────────────────────────────────────────────────────────────────────────────────────

    def _shown(self, request: Request) -> ShownCampaign:
        shown = self.board.find(request.path_params["id"])
        if shown is None:
            raise BadInput("there is no such campaign here", "Choose one of the home page.")
        return shown

    def _page(self, template: str, status: int = 200, **values: Any) -> Response:
        common = {
            "token": self.token,
            "prefix": PREFIX,
            "runs": self.runs,
            "worker": self.command.worker is not None,
            "folder": self.command.folder,
        }
        text = _templates().get_template(template).render(**common, **values)
        headers = {"content-security-policy": _POLICY, "referrer-policy": "same-origin"}
        return HTMLResponse(text, status, headers | {"cache-control": "no-store"})

    async def refuse(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, RatchetError)
        name = "refusal.html.j2" if "HX-Request" in request.headers else "refused.html.j2"
        return self._page(name, 400, error=error)

    def routes(self) -> list[Route | Mount]:
        """The home page, and everything below PREFIX."""
        pages = {
            "/overview": self.overview,
            "/campaign/{id}": self.campaign,
            "/campaign/{id}/state": self.state,
            "/campaign/{id}/decision": self.decision,
            "/campaign/{id}/label": self.label,
            "/campaign/{id}/report": self.report,
            "/campaign/{id}/logs": self.logs,
            "/compare": self.compare,
            "/start": self.start,
            "/recipe": self.recipe,
            "/changes": self.changes,
        }
        acts = {
            "/campaign/{id}/do/{action}": self.act,
            "/check": self.check,
            "/submit": self.submit,
        }
        below = Starlette(
            routes=[
                *(Route(path, page) for path, page in pages.items()),
                *(Route(path, act, methods=["POST"]) for path, act in acts.items()),
                Mount("/static", StaticFiles(directory=_HERE / "static")),
            ],
            exception_handlers={RatchetError: self.refuse},
        )
        return [Route(HOME, self.home), Mount(PREFIX, below)]


def create_app(console: Console) -> Starlette:
    """The console alone."""
    return Starlette(routes=console.routes())


def _end_of(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _LOG_BYTES))
        return file.read().decode(errors="replace")


@cache
def _templates() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
