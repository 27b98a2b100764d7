"""A campaign in a bucket as a folder that commands read: in the cache, brought up to date at each
command; outputs of steps come when they are read. Nothing in it is ever uploaded."""

import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from dpo_core.campaign.layout import Layout
from dpo_core.campaign.remote import write_place
from dpo_core.errors import BadInput, CampaignLocked
from dpo_core.file_lock import Holder, hold
from dpo_core.hashing import digest
from dpo_core.storage.bucket import Bucket
from dpo_core.storage.objects import check_url, open_objects
from dpo_core.storage.restore import restore
from dpo_core.user_cache import user_cache

_PATIENCE_S = 30.0


def mirror(url: str) -> Path:
    """The folder that shows the campaign at `url`. Raises BadInput where there is none."""
    try:
        check_url(url)
    except ValueError as error:
        raise BadInput(f"the URL of a campaign {error}", "Give its storage.url.") from None
    url = url.rstrip("/")
    bucket = Bucket(open_objects(url), url, patience_s=_PATIENCE_S)
    history = bucket.history()
    if not history.segments:
        raise BadInput(f"there is no campaign in {url}", "Give the storage.url of one.")
    folder = _mirrors() / digest(url)[:16]
    layout = Layout(folder)
    with hold(folder.with_suffix(".lock"), _busy, patience_s=_PATIENCE_S):
        try:
            place = restore(layout, bucket, history, to_run=False)
        except BadInput:  # another campaign was put there
            shutil.rmtree(folder)
            place = restore(layout, bucket, history, to_run=False)
        lease = bucket.newest_lease()
        held_by = lease.host if lease is not None and not lease.released else ""
        write_place(layout, replace(place, held_by=held_by))
    return folder


def is_mirror(folder: Path) -> bool:
    with suppress(OSError):
        return folder.resolve().parent == _mirrors().resolve()
    return False


def _mirrors() -> Path:
    return user_cache() / "campaigns"


def _busy(holder: Holder) -> CampaignLocked:
    return CampaignLocked(
        f"process {holder['pid']} is reading that campaign", "Type the same command again."
    )
