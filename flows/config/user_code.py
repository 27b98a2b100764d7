"""User functions that a config names by import path."""

from dpo_core.import_path import find_function, load_function
from flows.config.campaign import CampaignConfig
from labeling.judges.config import Judge, LlmJudge, RuleJudge, members


def judges_of(config: CampaignConfig) -> tuple[Judge, ...]:
    """Every judge that the config names, those of suites and people among them."""
    suites = (suite.judge for suite in config.evaluation.suites.values())
    sections = (config.judge, config.held_out_judge, *suites)
    return tuple(member for section in sections for member in members(section))


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

    for judge in judges_of(config):
        check_judge(judge)
    if config.prompts.function is not None:
        load_function(config.prompts.function)
    for function in (config.policy.build, config.sft.function if config.sft else None):
        if function is not None:
            find_function(function)
