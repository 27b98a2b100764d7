"""Whoever gives the rejected answers, where that is not the policy: whether it can."""

from collections.abc import Iterator
from pathlib import Path

from dpo_core.campaign.layout import Layout
from dpo_core.errors import BadInput, ConfigError
from dpo_core.find_model import find_folder
from flows.config import CampaignConfig
from flows.config.rejected import check_rejected_rounds, first_round, rejected_models
from flows.doctor.findings import Finding, ok, problem
from flows.doctor.policy import has_template

_CHECK, _WHERE = "rejected answers", "pairs.rejected_from"


def check_rejected(
    config: CampaignConfig, layout: Layout, *, chat: bool, fetch: bool
) -> Iterator[Finding]:
    """chat: prompts are messages. fetch: models on the hub are had, which otherwise nobody looks
    for."""
    try:
        check_rejected_rounds(config, first_round(layout))
    except ConfigError as error:
        yield problem(_CHECK, error.message, _WHERE, error.remedy)
    for name in rejected_models(config):
        if fetch or Path(name).is_dir():
            yield _model(name, chat=chat)


def _model(name: str, *, chat: bool) -> Finding:
    try:
        folder = find_folder(name)
    except BadInput as error:
        return problem(_CHECK, error.message, _WHERE, error.remedy)
    if chat and not has_template(folder):
        return problem(
            _CHECK,
            f"prompts are chat messages, but the tokenizer of {name} has no chat template",
            _WHERE,
            "Name a model with a chat template, or give plain `prompt` text.",
        )
    return ok(_CHECK, f"{name} answers beside the policy", _WHERE)
