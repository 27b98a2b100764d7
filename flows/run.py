"""`ratchet run`: open, run and resume a campaign."""

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import yaml
from rich.console import Console

from dpo_core.atomic import is_unfinished, write_text
from dpo_core.campaign.branching import read_origin
from dpo_core.campaign.failure import clear_failure, write_failure
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.lock import locked
from dpo_core.campaign.remote import read_place
from dpo_core.campaign.waiting import read_waiting
from dpo_core.children import Child
from dpo_core.errors import BadInput, ConfigError, RatchetError, WaitingForPeople
from dpo_core.processor import available_threads
from dpo_core.server_keys import CLIENT_VARIABLE, campaign_key_path, provide_key, with_key
from dpo_core.storage.bucket import Bucket
from dpo_core.storage.objects import open_objects
from dpo_core.storage.restore import check_same_place
from dpo_core.storage.uploads import Uploads, read_stored_config, stored
from dpo_core.text import counted
from dpo_core.user_cache import cache_bytes
from flows.config.campaign import CampaignConfig
from flows.config.paths import check_functions
from flows.config.precision import with_precision
from flows.config.raw import RawConfig
from flows.config.reading import dump_config, read_stored_text, validate_recorded
from flows.config.versions import describe_changes, record_replacement
from flows.doctor.examine import check_before_run
from flows.evaluation.judging import shared_judge_warning
from flows.gate.question import pending_question
from flows.notify import notify_failure, notify_waiting
from flows.people import can_resume
from flows.prefect.server import (
    address,
    free_port,
    prefect_environment,
    start_server,
    vital,
    write_logging_config,
)
from flows.session import Session
from flows.tracking.background import check_trackers
from reporting.progress import CampaignProgress


def run_campaign(
    config: CampaignConfig,
    root: Path,
    console: Console,
    *,
    with_prefect: bool = True,
    wait: bool = False,
    recompute: bool = False,
    reuse_base: bool = False,
) -> None:
    """Run or resume the campaign in `root`, holding its lock; see flows.campaign.

    recompute: ignore steps that an older version of Ratchet finished. wait: stay until people have
    answered, without a child process or a server, then resume. reuse_base: see Session.open.

    Raises WaitingForPeople when people have to answer, unless `wait` is set.
    """
    hint = f"; watch it with `ratchet ui {root}`" if with_prefect else ""
    with open_campaign(config, root, console, hint, with_prefect=with_prefect) as (
        config,
        progress,
        uploads,
    ):
        while True:
            before = read_waiting(Layout(root))
            try:
                with Session.open(root, config, progress, uploads, reuse_base) as session:
                    if recompute:
                        session.store.recompute()
                    _run(session, with_prefect=with_prefect)
                return
            except WaitingForPeople as waiting:
                if uploads is not None:
                    uploads.wait()
                notify_waiting(config, Layout(root), before, waiting.message, progress.notice)
                if not wait:
                    raise
                wait_for_people(Layout(root), config, progress, waiting.message)
            except Exception as error:
                notify_failure(config, error, progress.notice)
                raise


@contextmanager
def open_campaign(
    config: CampaignConfig,
    root: Path,
    console: Console,
    hint: str = "",
    *,
    with_prefect: bool = False,
) -> Iterator[tuple[CampaignConfig, CampaignProgress, Uploads | None]]:
    """Check and lock the campaign's folder, and its bucket if it has one; yields its resolved
    config, its progress, and the uploads to the bucket."""
    layout = Layout(root)
    check_functions(config)
    check_trackers(config.track)
    check_folder(layout)
    cache_bytes()  # raises for an invalid size
    check_before_run(config, root, with_prefect=with_prefect)
    check_bucket(layout, config)
    with (
        locked(layout.lock),
        CampaignProgress(console, config.rounds, layout.progress) as progress,
        _stored(layout, config, progress) as uploads,
    ):
        clear_failure(layout)
        config, changes = adopt_config(layout, config)
        rounds = counted(config.rounds, "round")
        progress.note(f"campaign {config.name} in {root}, {rounds}{hint}")
        if changes:
            progress.note("config changed; what depends on it runs again: " + "; ".join(changes))
        if warning := shared_judge_warning(config):
            progress.note(warning)
        try:
            yield config, progress, uploads
        except WaitingForPeople:
            raise
        except Exception as error:
            with suppress(OSError):  # a full disk may be the cause
                write_failure(layout, error)
            raise


_PATIENCE_SHARED_S = 15.0


@contextmanager
def _stored(
    layout: Layout, config: CampaignConfig, progress: CampaignProgress
) -> Iterator[Uploads | None]:
    """Hold the campaign's bucket; None where it has none."""
    url = config.storage.url
    if url is None:
        if (place := read_place(layout)) is not None:
            progress.notice(
                f"storage.url is not set: what is done now stays in {layout.root}, and whoever "
                f"goes on from {place.url} knows nothing of it"
            )
        yield None
        return

    def end(error: RatchetError) -> None:
        """End at once: a step may take hours more. Child processes end by themselves."""
        progress.stop()
        print(error.shown(), file=sys.stderr, flush=True)
        os._exit(error.exit_code)

    progress.starting("storage")
    bucket = Bucket(open_objects(url, make=True), url, say=progress.notice)
    origin = read_origin(layout)
    shared = None
    if origin is not None and origin.storage not in ("", url):
        shared = Bucket(open_objects(origin.storage), origin.storage, patience_s=_PATIENCE_SHARED_S)
    lease_s, checkpoints = config.storage.lease_s, config.storage.checkpoints
    with stored(layout, bucket, lease_s, end, checkpoints, shared) as uploads:
        yield uploads
        began = time.monotonic()
        uploads.wait()
        waited = time.monotonic() - began
        progress.note(f"storage: all of it is in {url}, {waited:.1f} s after the run")


def check_bucket(layout: Layout, config: CampaignConfig) -> None:
    """Raise BadInput for a bucket that does not answer, or that is another campaign's. Writes
    nothing."""
    url, place = config.storage.url, read_place(layout)
    if url is None:
        return
    if place is not None:
        check_same_place(layout, place, url)
    text = read_stored_config(url)
    found = yaml.safe_load(text).get("name") if text is not None else config.name
    if not layout.config.exists() and found != config.name:
        raise BadInput(
            f"storage.url {url} holds the campaign {found}, not {config.name}",
            "Give each campaign a folder of its own: --set storage.url=URL",
        )


def _run(session: Session, *, with_prefect: bool) -> None:
    if not with_prefect:
        from flows.campaign import run_rounds

        return run_rounds(session, with_prefect=False)
    session.progress.starting("Prefect server")
    with prefect_api(session.layout, session.progress):
        from flows.campaign import run_as_flow
        from flows.prefect.runs import crash_stale_runs, flush, server_needed

        with server_needed():
            crash_stale_runs(session.layout)
            try:
                run_as_flow(session)
            finally:
                flush()


@contextmanager
def prefect_api(layout: Layout, progress: CampaignProgress) -> Iterator[None]:
    """Point the Prefect client, before it is imported, at the user's server or our own."""
    os.environ.update(prefect_environment(layout))
    write_logging_config(layout)
    if os.environ.get("PREFECT_API_URL"):
        yield
        return
    port = free_port()
    before = os.environ.get(CLIENT_VARIABLE)
    os.environ["PREFECT_API_URL"] = f"{address(port)}/api"
    os.environ.update(with_key(os.environ, provide_key(campaign_key_path(layout))))
    try:
        with _server_beside_imports(layout, port) as server, vital(server, progress.stop):
            from flows.prefect.runs import own_server

            with own_server(f"{address(port)}/api"):
                yield
    finally:
        del os.environ["PREFECT_API_URL"], os.environ[CLIENT_VARIABLE]
        if before is not None:
            os.environ[CLIENT_VARIABLE] = before


def _server_beside_imports(layout: Layout, port: int) -> Child:
    """Start the server while this process imports Prefect: both take seconds."""
    with ThreadPoolExecutor(1) as beside:
        starting = beside.submit(start_server, layout, campaign_key_path(layout), port=port)
        import flows.campaign  # noqa: F401

        server, _, _ = starting.result()
        return server


_OWN_DISK_S = 1.0


def wait_for_people(
    layout: Layout, config: CampaignConfig, progress: CampaignProgress, sentence: str
) -> None:
    """Return once the campaign can resume. Nothing but this loop runs meanwhile."""
    progress.note(sentence)
    # Decisions arrive on the disk, labels on a server.
    poll_s = _OWN_DISK_S if pending_question(layout) is not None else config.people_config.poll_s
    progress.note(f"waiting; checks every {poll_s:g} s, Ctrl-C stops")
    while not can_resume(layout, config):
        waiting = read_waiting(layout)
        if waiting is not None:
            progress.waiting(waiting.needed - waiting.missing, waiting.needed)
        time.sleep(poll_s)
    progress.note("resuming")


def check_folder(layout: Layout) -> None:
    """Raise BadInput for a folder that cannot hold a campaign. Leaves nothing there."""
    root = layout.root
    try:
        absolute = root.absolute()
        nearest = next(path for path in (absolute, *absolute.parents) if path.exists())
    except OSError as error:  # the file system rejects the name
        raise BadInput(
            f"{root} cannot be a folder: {error.strerror}", "Name another with --campaign-dir."
        ) from None
    if not nearest.is_dir():
        raise BadInput(f"{nearest} is a file", "Name a folder with --campaign-dir.")
    _check_writable(nearest)
    if not layout.config.exists() and root.is_dir() and any(root.iterdir()):
        known = {layout.lock.name, layout.prefect.name, "logs"}
        names = {path.name for path in root.iterdir() if not is_unfinished(path)}
        if names - known:
            raise BadInput(
                f"{root} is not empty and is not a campaign",
                "Name a new or an existing campaign's folder with --campaign-dir.",
            )


def _check_writable(folder: Path) -> None:
    """By a folder that is removed at once: permissions alone do not tell."""
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".ratchet-", dir=folder))
    except OSError as error:
        raise BadInput(
            f"{folder} cannot be written to: {error.strerror}",
            "Make it writable, or name another folder with --campaign-dir.",
        ) from None


def adopt_config(layout: Layout, config: CampaignConfig) -> tuple[CampaignConfig, list[str]]:
    """Write the resolved config; returns it, and what changed since the last run.

    Threads and precision are fixed when a campaign is created, because they decide the bits of
    every number. The config of the last run is kept beside a changed one.
    """
    stored = read_stored_text(layout)[1] if layout.config.exists() else None
    config = with_precision(config, stored)
    if config.threads == "auto":
        threads = stored.get("threads") if stored is not None else None
        config = config.model_copy(update={"threads": threads or available_threads()})
    text = dump_config(config)
    if stored is None:
        write_text(layout.config, text)
        return config, []
    old = layout.config.read_text(encoding="utf-8")
    if old == text:
        return config, []
    version = 1
    while layout.old_config(version).exists():
        version += 1
    write_text(layout.old_config(version), old)
    record_replacement(layout, version)
    write_text(layout.config, text)
    return config, describe_changes(_in_full(stored), yaml.safe_load(text))


def _in_full(stored: RawConfig) -> Mapping[str, object]:
    """A config of an earlier version with the keys that came since, at their defaults."""
    try:
        whole: Mapping[str, object] = yaml.safe_load(
            dump_config(validate_recorded(stored.values, ""))
        )
    except ConfigError:  # it had a key or value that is refused now
        return stored.values
    return whole
