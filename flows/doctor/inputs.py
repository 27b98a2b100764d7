"""Files that a new campaign reads: read once before anything is written.

Steps would find the same faults, but in a folder that is there by then, after a server and a model
were started.
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
    """Raise BadInput that names file and row. A campaign that has begun is not looked at: its
    finished steps hold what they read.

    Prompts of a function or a hub are not asked for twice. A task of lm-evaluation-harness is
    looked at until the base has answered it: that takes a process of its own.
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
    """Whether tasks of lm-evaluation-harness can be suites, with the data there are."""
    for name, task in config.evaluation.harness_suites.items():
        where = f"evaluation.suites.{name}"
        try:
            yield ok("suites", f"suite {name}: {check_task(name, task, _length(config))}", where)
        except RatchetError as error:
            yield problem("suites", error.message, where, error.remedy)


def _length(config: CampaignConfig) -> int | None:
    """Most tokens of a prompt and its answer, where no model need be loaded to know it."""
    folder = local_policy(config)
    shape = read_shape(folder) if folder is not None else None
    return config.sampling.max_model_len or (shape.positions if shape is not None else None)


def _check_suite(name: str, prompts: PromptsConfig) -> None:
    if not any(True for _ in read_pool(prompts)):
        raise PromptError(
            f"evaluation.suites.{name}: {prompts.path} holds no prompts",
            "Write some, or remove the suite.",
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
            "Make it anew: ratchet import FILE... OUT_DIR",
        ) from None


def check_same_judge(config: CampaignConfig) -> DoctorFinding:
    """An evaluation by the judge that was trained on cannot see what that judge is blind to."""
    said = shared_judge_warning(config)
    if said is not None:
        remedy = "Nothing where it is right by definition, as a rule may be; else give another one."
        return note("judges", said, "evaluation_judge", remedy)
    return ok("judges", "training and evaluation have judges of their own", "evaluation_judge")


def check_user_code(config: CampaignConfig) -> Iterator[DoctorFinding]:
    """What runs here is imported; what runs in a child, and may load a model library, looked up."""
    failed = [found for section, call in _calls(config) if (found := _tried(section, call))]
    yield from failed
    if not failed:
        yield ok("user code", "every function that the config names is there")


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


def _tried(section: str, call: Callable[[], object]) -> DoctorFinding | None:
    try:
        call()
    except RatchetError as error:
        return problem("user code", error.message, section, error.remedy)
    return None
