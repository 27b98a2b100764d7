"""Staying until people have answered: `ratchet run --wait`."""

import time

from dpo_core.campaign.layout import Layout
from flows.config import CampaignConfig
from flows.people.waiting import may_go_on, read_waiting
from flows.progress import CampaignProgress


def await_people(
    layout: Layout, config: CampaignConfig, progress: CampaignProgress, sentence: str
) -> None:
    """Return once the campaign may go on. Nothing of it runs meanwhile but this loop."""
    progress.note(sentence)
    progress.note(f"waiting, and looking every {config.asked.poll_s:g} s; Ctrl-C stops")
    while not may_go_on(layout, config):
        waiting = read_waiting(layout)
        if waiting is not None:
            progress.waiting(waiting.needed - waiting.missing, waiting.needed)
        time.sleep(config.asked.poll_s)
    progress.note("going on")
