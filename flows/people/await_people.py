"""Staying until people have answered: `ratchet run --wait`."""

import time

from dpo_core.campaign.layout import Layout
from flows.config import CampaignConfig
from flows.gate.question import asked
from flows.people.waiting import may_go_on, read_waiting
from flows.progress import CampaignProgress

_OWN_DISK_S = 1.0


def await_people(
    layout: Layout, config: CampaignConfig, progress: CampaignProgress, sentence: str
) -> None:
    """Return once the campaign may go on. Nothing of it runs meanwhile but this loop."""
    progress.note(sentence)
    # A yes or no is looked for on the disk, answers on a server.
    poll_s = _OWN_DISK_S if asked(layout) is not None else config.asked.poll_s
    progress.note(f"waiting, and looking every {poll_s:g} s; Ctrl-C stops")
    while not may_go_on(layout, config):
        waiting = read_waiting(layout)
        if waiting is not None:
            progress.waiting(waiting.needed - waiting.missing, waiting.needed)
        time.sleep(poll_s)
    progress.note("going on")
