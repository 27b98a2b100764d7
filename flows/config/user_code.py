"""User functions that a config names by import path."""

from collections.abc import Iterator
from contextlib import contextmanager

from dpo_core.errors import ConfigError
from dpo_core.import_path import find_function, load_function
from flows.config.campaign import CampaignConfig
from labeling.judges.config import Judge, LlmJudge, RuleJudge, members


def judges_of(config: CampaignConfig) -> tuple[Judge, ...]:
    """Every judge that the config names, those of suites and people among them."""
    return tuple(judge for _, judge in _judges(config))


def functions_of(config: CampaignConfig) -> frozenset[str]:
    """The import path of every user function that the config names."""
    rules = (judge.function for judge in judges_of(config) if isinstance(judge, RuleJudge))
    sft = config.sft.function if config.sft is not None else None
    more = (config.prompts.function, config.policy.build, sft)
    return frozenset((*rules, *(path for path in more if path is not None)))


def endpoints_of(config: CampaignConfig) -> frozenset[tuple[str, str | None]]:
    """(URL, environment variable with its key) of every endpoint that the config's judges ask."""
    models = (judge for judge in judges_of(config) if isinstance(judge, LlmJudge))
    return frozenset((m.endpoint, m.api_key_env) for m in models if m.endpoint is not None)


def check_functions(config: CampaignConfig) -> None:
    """Raise ConfigError for user code that is not there, or a judge that lacks something it needs,
    before anything is written or started.

    What runs in this process is imported; what runs in the training process, and may load a model
    library, is only looked up.
    """
    from labeling.judges.make import check_judge  # with templates, which reading a config needs not

    for key, judge in _judges(config):
        with _named(key):
            check_judge(judge)
    if config.prompts.function is not None:
        with _named("prompts.function"):
            load_function(config.prompts.function)
    in_training = {
        "policy.build": config.policy.build,
        "sft.function": config.sft.function if config.sft else None,
    }
    for key, function in in_training.items():
        if function is not None:
            with _named(key):
                find_function(function)


def _judges(config: CampaignConfig) -> Iterator[tuple[str, Judge]]:
    """Every judge with the key of its section."""
    sections = {"judge": config.judge, "evaluation_judge": config.evaluation_judge}
    for key, section in sections.items():
        for judge in () if section is None else members(section):
            function = ".function" if judge.kind == "rule" and section is judge else ""
            yield f"{key}{function}", judge
    for name, suite in config.evaluation.own_suites.items():
        yield f"evaluation.suites.{name}.judge", suite.judge


@contextmanager
def _named(key: str) -> Iterator[None]:
    """Errors in the block begin with the key whose value they are about."""
    try:
        yield
    except ConfigError as error:
        if error.message.startswith(f"{key}."):
            raise
        message = error.message.removeprefix("judge: ").removeprefix("judge.")
        separator = "." if error.message.startswith("judge.") else ": "
        raise ConfigError(f"{key}{separator}{message}", error.remedy) from error
