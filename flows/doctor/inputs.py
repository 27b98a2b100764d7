"""Checks of prompts, judges and user code before anything is written.

The steps would find the same faults, but only after a folder, a server and a model exist.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dpo_core.campaign.layout import Layout
from dpo_core.errors import LabelsError, PromptError, RatchetError
from dpo_core.import_path import find_function, load_function
from dpo_core.model_shape import read_shape
from dpo_core.schemas import IMPORTED
from dpo_core.training.warm_start.sft_examples import check_sft_rows
from flows.config import CampaignConfig
from flows.config.paths import user_loss
from flows.doctor.findings import DoctorFinding, note, ok, problem
from flows.doctor.policy import local_policy
from flows.evaluation.judging import shared_judge_warning
from flows.harness.suite_task import check_task
from generation.config import PromptsConfig
from generation.prompts import check_pool, read_pool
from labeling.exchange.folder import PAIRS
from labeling.judges.config import members
from labeling.judges.make import check_judge
from labeling.people.gold import read_gold


def check_inputs(config: CampaignConfig, layout: Layout) -> None:
    """Raise BadInput, naming file and row, for an input file that a new campaign cannot read.

    Skips campaigns that have begun, since their finished steps hold what they read, and prompts
    from a function or the hub. Checks tasks of lm-evaluation-harness, in a process of their own,
    until the base has answered them.
    """
    _check_tasks(config, layout)
    if any(layout.round(0).glob("held_out-*")):
        return
    if config.prompts.path is not None:
        check_pool(config.prompts)
    if config.sft is not None and config.sft.path is not None:
        check_sft_rows(config.sft)
    for name, suite in config.evaluation.own_suites.items():
        _check_suite(name, PromptsConfig(path=suite.prompts, field=suite.field))
    if config.people is not None and config.people.gold is not None:
        read_gold(Path(config.people.gold))
    if config.data.imported is not None:
        _check_imported(Path(config.data.imported) / PAIRS)


def _check_tasks(config: CampaignConfig, layout: Layout) -> None:
    for name, task in config.evaluation.harness_suites.items():
        if not any(layout.round(0).glob(f"suite_{name}-*")):
            check_task(name, task, _length(config))


def check_suites(config: CampaignConfig) -> Iterator[DoctorFinding]:
    """Whether tasks of lm-evaluation-harness can serve as suites, with the data present."""
    for name, task in config.evaluation.harness_suites.items():
        where = f"evaluation.suites.{name}"
        try:
            yield ok("suites", f"suite {name}: {check_task(name, task, _length(config))}", where)
        except RatchetError as error:
            yield problem("suites", error.message, where, error.remedy)


def _length(config: CampaignConfig) -> int | None:
    """Most tokens of prompt and answer, if known without loading a model."""
    folder = local_policy(config)
    shape = read_shape(folder) if folder is not None else None
    return config.sampling.max_model_len or (shape.positions if shape is not None else None)


def _check_suite(name: str, prompts: PromptsConfig) -> None:
    if not any(True for _ in read_pool(prompts)):
        raise PromptError(
            f"evaluation.suites.{name}: {prompts.path} holds no prompts",
            "Add prompts, or remove the suite.",
        )


def _check_imported(path: Path) -> None:
    try:
        with pq.ParquetFile(path) as file:
            lacking = [name for name in IMPORTED.names if name not in file.schema_arrow.names]
            rows = sum(batch.num_rows for batch in file.iter_batches())
        if lacking or not rows:
            raise ValueError(f"it has no {', '.join(lacking) or 'rows'}")
    except (pa.ArrowException, OSError, ValueError) as error:
        raise LabelsError(
            f"data.imported: {path} does not hold imported preferences: {error}",
            "Import them again: ratchet import FILE... OUT_DIR",
        ) from None


def check_same_judge(config: CampaignConfig) -> DoctorFinding:
    """Whether training and evaluation share a judge, which would hide reward hacking."""
    if shared_judge_warning(config) is not None:
        return note(
            "judges",
            "training and evaluation share a judge, so reward hacking cannot be ruled out",
            "evaluation_judge",
            "Set an independent evaluation_judge, unless the judge is right by definition, as a "
            "rule may be.",
        )
    return ok("judges", "training and evaluation have independent judges", "evaluation_judge")


def check_user_code(config: CampaignConfig) -> Iterator[DoctorFinding]:
    """Whether every function in the config exists.

    Imports what runs in this process. Only looks up what runs in a child, because it may load a
    model library.
    """
    missing = False
    for section, call in _calls(config):
        try:
            call()
        except RatchetError as error:
            missing = True
            yield problem("user code", error.message, section, error.remedy)
    if not missing:
        yield ok("user code", "every function in the config exists")


def _calls(config: CampaignConfig) -> Iterator[tuple[str, Callable[[], object]]]:
    for section, judge in (("judge", config.judge), ("evaluation_judge", config.evaluation_judge)):
        for member in members(judge) if judge is not None else ():
            yield section, partial(check_judge, member)
    if config.prompts.function is not None:
        yield "prompts.function", partial(load_function, config.prompts.function)
    sft = config.sft.function if config.sft is not None else None
    named = {
        "policy.build": config.policy.build,
        "sft.function": sft,
        "training.loss": user_loss(config),
    }
    for section, function in named.items():
        if function is not None:
            yield section, partial(find_function, function)
