"""User functions that a config names by import path."""

from dpo_core.import_path import find_function, load_function
from flows.config.campaign import CampaignConfig
from labeling.judges.config import members


def check_functions(config: CampaignConfig) -> None:
    """Raise ConfigError for user code that is not there, or a judge that lacks something it needs,
    before anything is written or started.

    What runs in this process is imported; what runs in the training process, and may load a model
    library, is only looked up.
    """
    from labeling.judges.make import check_judge  # with templates, which reading a config needs not

    suites = (suite.judge for suite in config.evaluation.suites.values())
    for judge in (*members(config.judge), *members(config.held_out_judge), *suites):
        check_judge(judge)
    if config.prompts.function is not None:
        load_function(config.prompts.function)
    for function in (config.policy.build, config.sft.function if config.sft else None):
        if function is not None:
            find_function(function)
