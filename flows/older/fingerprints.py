"""Fingerprints under which older versions of Ratchet finished today's steps.

The only place that knows what a recipe looked like before; see dpo_core.campaign.identity for how
steps that are found by it count.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from fnmatch import fnmatch

import yaml

from dpo_core.campaign.layout import Layout
from dpo_core.campaign.store import Recipe
from dpo_core.hashing import digest
from dpo_core.import_path import source_hash_of_package
from flows.config import CampaignConfig
from flows.config.defaults import earlier_defaults

Values = Mapping[str, object]
"""What a step depends on of the config."""

_INPUTS_SINCE_3 = ("answer_logps/held_out",)
"""Patterns of step/name of inputs that identity 2 lacked."""

_INPUTS_SINCE = (
    *_INPUTS_SINCE_3,
    "* model of *",
    "model of *",
    "base/model",
    "base/sft",
    "evaluation/held_out",
    "evaluation/*_suite_*_answers",
    "gate/outcomes",
    "gate/steps",
    "judgements/prompts",
    "labels/prompts",
    "pairs/prompts",
)
"""Patterns of step/name of inputs that identity 1 lacked."""

_GATE = ("win_rate", "use", "threshold", "kl_budget", "otherwise", "retry")
"""Keys of the section `gate` in identity 1."""

_SAMPLING = ("shard_prompts", "tensor_parallel_size")
"""Keys that completions depended on in identity 1."""


def older_fingerprints(
    recipe: Recipe, identities: Collection[int], config: CampaignConfig, layout: Layout
) -> Iterator[str]:
    """This recipe's fingerprints under the `identities`, the latest first."""
    if 2 in identities:
        yield _second(recipe)
    if 1 in identities:
        yield from _first(recipe, config, layout)


def _second(recipe: Recipe) -> str:
    inputs = _without(recipe, _INPUTS_SINCE_3)
    parts = (dict(recipe.config), inputs, dict(recipe.functions))
    return digest(recipe.step, *parts, {"identity": 2})


def _first(recipe: Recipe, config: CampaignConfig, layout: Layout) -> Iterator[str]:
    """One fingerprint, or one per value that the campaign's configs had of a key that no longer
    counts."""
    inputs = _without(recipe, _INPUTS_SINCE)
    functions = {name: _function(name, sha) for name, sha in recipe.functions.items()}
    for older in _configs(recipe, config, layout):
        yield digest(recipe.step, older, inputs, functions)


def _without(recipe: Recipe, patterns: Iterable[str]) -> dict[str, str]:
    """The recipe's inputs except those that match a pattern."""
    return {
        name: sha
        for name, sha in recipe.inputs.items()
        if not any(fnmatch(f"{recipe.step}/{name}", p) or fnmatch(name, p) for p in patterns)
    }


def _function(name: str, current: str) -> str:
    """Identity 1 hashed only a user's modules of one package; a rubric is not a module."""
    return current if " of " in name else source_hash_of_package(name)


def _configs(recipe: Recipe, config: CampaignConfig, layout: Layout) -> Iterable[Values]:
    special = _BY_STEP.get(recipe.step)
    if special is not None:
        return special(recipe, config)
    if "temperature" in recipe.config and "shard_prompts" not in recipe.config:
        return _sampled(recipe, config, layout)
    return [recipe.config]


def _base(recipe: Recipe, config: CampaignConfig) -> Iterator[Values]:
    """With the paths of what is now known by its contents."""
    policy, sft = config.policy, config.sft
    yield {
        "policy": policy.model_dump(mode="json"),
        "sft": sft.model_dump(mode="json") if sft is not None else None,
        "seed": recipe.config["seed"],
    }


def _gate(recipe: Recipe, config: CampaignConfig) -> Iterator[Values]:
    """Without later keys, where they are off as in a campaign of that time."""
    gate, off = recipe.config["gate"], earlier_defaults(1)
    new = {key: value for key, value in gate.items() if key not in _GATE}
    if all(value == off.get(f"gate.{key}") for key, value in new.items()):
        yield {**recipe.config, "gate": {k: v for k, v in gate.items() if k not in new}}


def _sampled(recipe: Recipe, config: CampaignConfig, layout: Layout) -> Iterator[Values]:
    now: Values = config.sampling.model_dump(mode="json")
    known = [now, *_configs_on_disk(layout)]
    for values in dict.fromkeys(tuple(each[key] for key in _SAMPLING) for each in known):
        yield {**recipe.config, **dict(zip(_SAMPLING, values, strict=True))}


def _configs_on_disk(layout: Layout) -> Iterator[Values]:
    """The section `sampling` of all configs of the campaign."""
    for path in sorted(layout.root.glob("campaign*.yaml")):
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        sampling = config.get("sampling", {}) if isinstance(config, dict) else {}
        if all(key in sampling for key in _SAMPLING):
            yield sampling


_BY_STEP: dict[str, Callable[[Recipe, CampaignConfig], Iterator[Values]]] = {
    "base": _base,
    "gate": _gate,
}
