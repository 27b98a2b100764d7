"""Judges: those of training and evaluation apart, and user code that can be imported."""

from collections.abc import Callable, Iterator
from functools import partial

from dpo_core.errors import RatchetError
from dpo_core.import_path import find_function, load_function
from flows.config import CampaignConfig
from flows.doctor.findings import Finding, note, ok, problem
from flows.evaluation.judges import same_judge
from labeling.judges.config import members
from labeling.judges.make import check_judge


def check_same_judge(config: CampaignConfig) -> Finding:
    """An evaluation by the judge that was trained on cannot see what that judge is blind to."""
    said = same_judge(config)
    if said is not None:
        remedy = "Nothing where it is right by definition, as a rule may be; else give another one."
        return note("judges", said, "evaluation_judge", remedy)
    return ok("judges", "training and evaluation have judges of their own", "evaluation_judge")


def check_user_code(config: CampaignConfig) -> Iterator[Finding]:
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
    for section, function in (("policy.build", config.policy.build), ("sft.function", sft)):
        if function is not None:
            yield section, partial(find_function, function)


def _tried(section: str, call: Callable[[], object]) -> Finding | None:
    try:
        call()
    except RatchetError as error:
        return problem("user code", error.message, section, error.remedy)
    return None
