"""The config of a campaign: one YAML file, overridden by --set, checked before anything starts."""

import difflib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from dpo_core.config import (
    Count,
    EvaluationConfig,
    PolicyConfig,
    Positive,
    PromoteConfig,
    Section,
    SftConfig,
    TrainingConfig,
)
from dpo_core.errors import ConfigError
from dpo_core.import_path import find_function, load_function
from dpo_core.loss_options import TRAITS
from generation.config import PromptsConfig, SamplingConfig
from labeling.config import (
    AggregationConfig,
    AuditConfig,
    BudgetConfig,
    JudgeConfig,
    PairsConfig,
    PeopleConfig,
)
from labeling.exchange.folder import PAIRS
from labeling.judges.config import (
    JUDGE_KINDS,
    AnyJudgeConfig,
    asks_people,
    gives_scores,
    machines,
    members,
)
from labeling.judges.make import check_judge


class KeepLast(Section):
    """Keep the weights of the last rounds, and always those of the promoted policy."""

    last: Count


class Mix(Section):
    """Pairs of a round's training by where they come from: weights of which only ratios count."""

    latest: Positive = 1.0
    earlier: float = Field(0.0, ge=0)
    imported: float = Field(0.0, ge=0)


class MixRounds(Section):
    mix: Mix


class LastRounds(Section):
    last: Count


class DataConfig(Section):
    """Which preferences a round trains on."""

    rounds: Literal["latest", "all"] | LastRounds | MixRounds = Field(
        "latest",
        description="latest: this round's; all: those of earlier rounds too; last: k, of the last "
        "k rounds; mix: {latest: 0.7, earlier: 0.3, imported: 0}, in these shares",
    )
    imported: str | None = Field(
        None, description="folder made by `ratchet import`: round 1 trains on it, without sampling"
    )

    @field_validator("rounds", mode="before")
    @classmethod
    def _rounds(cls, value: Any) -> Any:
        """One sentence for a wrong value, instead of one for each kind it might have been."""
        kind = next(iter(value)) if isinstance(value, dict) and len(value) == 1 else None
        if value in ("latest", "all") or kind in ("last", "mix") or isinstance(value, Section):
            return value
        raise ValueError(
            "data.rounds must be latest, all, last: k, or mix: {latest: 0.7, earlier: 0.3} "
            f"(found {value!r})"
        )


class CampaignConfig(Section):
    """A whole campaign. Sections are described where the code they steer lives."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    seed: int = Field(0, ge=0)
    rounds: Count = 3
    data_dir: str | None = Field(None, description="replaces {data_dir} in paths and arguments")
    threads: Count | Literal["auto"] = Field("auto", description="per process; fixed at creation")
    keep_policies: Literal["all", "promoted"] | KeepLast = Field(
        "all",
        description="promoted: the weights of refused candidates are removed; last: k: those of "
        "all but the last k rounds and the promoted policy",
    )
    policy: PolicyConfig
    sft: SftConfig | None = None
    prompts: PromptsConfig
    sampling: SamplingConfig = SamplingConfig()
    judge: JudgeConfig
    evaluation_judge: JudgeConfig | None = Field(
        None, description="judges held-out answers; none: those judges that need no person"
    )
    people: PeopleConfig | None = Field(None, description="how people are asked")
    budget: BudgetConfig = BudgetConfig()
    pairs: PairsConfig = PairsConfig()
    aggregation: AggregationConfig = AggregationConfig()
    audit: AuditConfig = AuditConfig()
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    promote: PromoteConfig = PromoteConfig()

    @property
    def held_out_judge(self) -> AnyJudgeConfig:
        """The judge of held-out answers; people who are members of it are not asked."""
        return self.evaluation_judge or self.judge

    @property
    def asked(self) -> PeopleConfig:
        """How people are asked, where the judge asks any."""
        return self.people or PeopleConfig()

    @property
    def takes_soft_labels(self) -> bool:
        """Whether p_chosen may be anything but 1."""
        return TRAITS[self.training.loss].soft_labels

    @field_validator("keep_policies", mode="before")
    @classmethod
    def _keep_policies(cls, value: Any) -> Any:
        """One sentence for a wrong value, instead of one for each kind it might have been."""
        last = value.get("last") if isinstance(value, dict) and len(value) == 1 else None
        if value in ("all", "promoted") or (type(last) is int and last >= 1):
            return value
        raise ValueError(
            "keep_policies must be all, promoted, or last: k with a k of at least 1 "
            f"(found {value!r})"
        )

    @model_validator(mode="after")
    def _possible(self) -> "CampaignConfig":
        for section, names in (("policy", ("model", "build")), ("prompts", ("path", "function"))):
            _exactly_one(section, getattr(self, section), names)
        if self.sft is not None:
            _exactly_one("sft", self.sft, ("path", "function"))
        if self.prompts.gate_share + self.prompts.test_share >= 1:
            raise ValueError(
                "prompts.gate_share and prompts.test_share leave nothing to train on: "
                "lower them until their sum is below 1"
            )
        _check_policy(self.policy)
        _check_judges(self)
        _check_people(self)
        _check_sampling(self.sampling)
        _check_pairs(self.pairs, self.judge)
        _check_data(self.data)
        _check_reference_logps(self)
        _check_aggregation(self)
        return self


def _check_judges(config: "CampaignConfig") -> None:
    if config.evaluation_judge is not None and asks_people(config.evaluation_judge):
        raise ValueError(
            "evaluation_judge must need no person: held-out answers are judged in every round"
        )
    if not list(machines(config.held_out_judge)):
        raise ValueError(
            "judge.kind human leaves held-out answers unjudged: add an evaluation_judge, such as "
            "{kind: rule, function: 'my_judge:score'}"
        )
    if config.people is not None and not asks_people(config.judge):
        raise ValueError(
            "people says how people are asked, but judge asks none: remove it, set judge.kind to "
            "human, or add a member of kind human to a committee"
        )


def _check_people(config: "CampaignConfig") -> None:
    people, labels = config.asked, config.budget.human_labels
    _check_machines_for_people(config)
    if people.gold_share + people.repeat_share >= 1:
        raise ValueError(
            "people.gold_share and people.repeat_share leave no room for new pairs: lower them "
            "until their sum is below 1"
        )
    if (people.gold is None) != (people.gold_share == 0):
        raise ValueError(
            "people.gold and people.gold_share belong together: give a file of known pairs and the "
            "share of them, or neither"
        )
    if labels is None:
        return
    if not asks_people(config.judge):
        raise ValueError(
            "budget.human_labels limits what people are asked, but judge asks none: remove it, or "
            "add a judge of kind human"
        )
    if labels < people.min_submitted:
        raise ValueError(
            f"budget.human_labels {labels} pays for no pair, since people.min_submitted asks "
            f"{people.min_submitted} people about each: raise the first or lower the second"
        )


def _check_machines_for_people(config: "CampaignConfig") -> None:
    if list(machines(config.judge)):
        return
    if config.asked.at_deadline == "judge":
        raise ValueError(
            "people.at_deadline judge leaves pairs to a judge, but people are the only one: set it "
            "to use or stop, or make the judge a committee with another member"
        )
    if config.asked.mode == "review":
        raise ValueError(
            "people.mode review shows what the judge says, but people are the only one: set it to "
            "blind, or make the judge a committee with another member"
        )


def _check_policy(policy: PolicyConfig) -> None:
    for key, needs in (("revision", "model"), ("build_args", "build")):
        if getattr(policy, key) and getattr(policy, needs) is None:
            raise ValueError(
                f"policy.{key} belongs to policy.{needs}, which is not given: remove it"
            )


def _check_sampling(sampling: SamplingConfig) -> None:
    if sampling.samples_per_prompt < 2:
        raise ValueError("sampling.samples_per_prompt must be at least 2 to make a pair")
    if sampling.max_model_len is not None and sampling.max_model_len <= sampling.max_tokens:
        raise ValueError(
            f"sampling.max_model_len {sampling.max_model_len} holds prompt and answer, but "
            f"sampling.max_tokens {sampling.max_tokens} leaves no room for a prompt: "
            "raise the first or lower the second"
        )
    if sampling.engine == "transformers" and sampling.tensor_parallel_size > 1:
        raise ValueError(
            "sampling.tensor_parallel_size needs engine vllm: remove it, or set sampling.engine"
        )


def _check_pairs(pairs: PairsConfig, judge: AnyJudgeConfig) -> None:
    if pairs.strategy != "random" and not gives_scores(judge):
        raise ValueError(
            f"pairs.strategy {pairs.strategy} needs scores, but no judge gives them: "
            "set pairs.strategy to random, or give scores"
        )


def _check_data(data: DataConfig) -> None:
    rounds = data.rounds
    if isinstance(rounds, MixRounds) and rounds.mix.imported > 0 and data.imported is None:
        raise ValueError(
            f"data.rounds.mix.imported {rounds.mix.imported:g} is the weight of imported "
            "preferences, but data.imported names none: remove it, or import some"
        )


def _check_aggregation(config: "CampaignConfig") -> None:
    if config.aggregation.targets == "soft" and not config.takes_soft_labels:
        taking = ", ".join(name for name, traits in TRAITS.items() if traits.soft_labels)
        raise ValueError(
            f"aggregation.targets soft needs a loss that takes p_chosen, and training.loss "
            f"{config.training.loss} does not: choose one of {taking}, or set targets to hard"
        )
    both = asks_people(config.judge) and list(machines(config.judge))
    if config.aggregation.calibrate and not both:
        raise ValueError(
            "aggregation.calibrate compares a judge with people: make judge a committee of both, "
            "or remove it"
        )


def _check_reference_logps(config: "CampaignConfig") -> None:
    if config.training.reference_logps != "from_sampling":
        return
    sampling = config.sampling
    # At temperature 1 without a cut, raw log-probs and those of what was drawn are the same ones.
    if not sampling.is_raw:
        raise ValueError(
            "training.reference_logps from_sampling needs the policy's own log-probs, those at "
            f"temperature 1 and top_p 1 (found sampling.temperature {sampling.temperature:g}, "
            f"sampling.top_p {sampling.top_p:g}): set both to 1, or reference_logps to pass"
        )
    if config.data.rounds not in ("latest", LastRounds(last=1)):
        raise ValueError(
            "training.reference_logps from_sampling needs answers that the round's own policy "
            "sampled, but data.rounds brings in those of other rounds: set data.rounds to latest, "
            "or reference_logps to pass"
        )


def _exactly_one(section: str, values: Section, names: tuple[str, str]) -> None:
    given = [name for name in names if getattr(values, name) is not None]
    if len(given) != 1:
        found = "both are given" if given else "neither is given"
        raise ValueError(f"{section}: give exactly one of {names[0]} and {names[1]} ({found})")


def load_config(path: Path, overrides: Sequence[str] = ()) -> CampaignConfig:
    """Read `path`, apply `key.sub=value` overrides, resolve paths, validate.

    Relative paths inside the config are taken from the current directory, as a shell would.
    Raises ConfigError that names the key and the remedy.
    """
    raw = _read_yaml(path)
    for override in overrides:
        _apply(raw, override)
    raw = _resolve(raw)
    config = validate(raw, str(path))
    _check_files(config)
    return config


def validate(raw: dict[str, Any], source: str) -> CampaignConfig:
    """`raw` as a CampaignConfig; a ConfigError lists every problem, one per line."""
    try:
        return CampaignConfig.model_validate(raw)
    except ValidationError as error:
        lines = [_explain(dict(problem)) for problem in error.errors()]
        raise ConfigError(f"{source}: " + "\n  ".join(lines)) from None


def dump_config(config: CampaignConfig) -> str:
    """The resolved config as YAML: every key, defaults included."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"cannot read config {path}: {error.strerror}", "Check the path."
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} must hold keys and values, found {type(raw).__name__}")
    return raw


def _apply(raw: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {override}: expected key=value, for example training.beta=0.2")
    *sections, last = key.strip().split(".")
    for name in sections:
        if raw.get(name) is None:
            raw[name] = {}
        raw = raw[name]
        if not isinstance(raw, dict):
            raise ConfigError(f"--set {override}: {name} is a value, it has no keys below it")
    try:
        raw[last] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise ConfigError(f"--set {override}: {value!r} is not a YAML value") from None


def _resolve(raw: dict[str, Any]) -> dict[str, Any]:
    """Fill {data_dir}, make paths absolute: one file is one file however it was spelled."""
    data_dir = raw.get("data_dir")
    if data_dir is not None:
        raw["data_dir"] = data_dir = os.path.abspath(str(data_dir))
    raw = {key: _fill(value, data_dir, key) for key, value in raw.items()}
    for section, key in _PATHS:
        values = raw.get(section)
        if not isinstance(values, dict) or not isinstance(path := values.get(key), str):
            continue
        # A model that is no folder here is the id of one on the hub; guidelines may be a text.
        there = {"model": os.path.isdir, "guidelines": os.path.isfile}.get(key)
        if there is None or there(path):
            values[key] = os.path.abspath(path)
    for judge in _judges(raw):
        for key, exists in (("model", os.path.isdir), ("rubric", os.path.isfile)):
            if isinstance(path := judge.get(key), str) and exists(path):
                judge[key] = os.path.abspath(path)
    return raw


_PATHS = (
    ("prompts", "path"),
    ("sft", "path"),
    ("policy", "model"),
    ("people", "gold"),
    ("people", "guidelines"),
    ("people", "server_dir"),
    ("data", "imported"),
)


def _judges(raw: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The sections of single judges, those of committees among them."""
    for section in (raw.get("judge"), raw.get("evaluation_judge")):
        if isinstance(section, dict):
            members = section.get("members")
            yield from (m for m in (section, *(members or ())) if isinstance(m, dict))


def _fill(value: Any, data_dir: str | None, where: str) -> Any:
    if isinstance(value, dict):
        return {k: _fill(v, data_dir, f"{where}.{k}") for k, v in value.items()}
    if not isinstance(value, str) or "{data_dir}" not in value:
        return value
    if data_dir is None:
        raise ConfigError(
            f"{where} is {value!r}, but data_dir is not given",
            "Say where the data lies: --set data_dir=PATH",
        )
    return value.replace("{data_dir}", data_dir)


def check_functions(config: CampaignConfig) -> None:
    """Raise ConfigError for user code that is not there, or a judge that lacks something it needs,
    before anything is written or started.

    What runs in this process is imported; what runs in the training process, and may load a model
    library, is only looked up.
    """
    for judge in (*members(config.judge), *members(config.held_out_judge)):
        check_judge(judge)
    if config.prompts.function is not None:
        load_function(config.prompts.function)
    for function in (config.policy.build, config.sft.function if config.sft else None):
        if function is not None:
            find_function(function)


def _check_files(config: CampaignConfig) -> None:
    paths = {"prompts.path": config.prompts.path}
    if config.sft is not None:
        paths["sft.path"] = config.sft.path
    if config.people is not None:
        paths["people.gold"] = config.people.gold
        guidelines = config.people.guidelines or ""
        if guidelines.endswith((".md", ".txt")) and "\n" not in guidelines:
            paths["people.guidelines"] = guidelines
    for key, path in paths.items():
        if path is not None and not os.path.isfile(path):
            raise ConfigError(f"{key}: there is no file {path}", f"Give another: --set {key}=PATH")
    imported = config.data.imported
    if imported is not None and not os.path.isfile(os.path.join(imported, PAIRS)):
        raise ConfigError(
            f"data.imported: {imported} holds no {PAIRS}",
            "Make it first: ratchet import FILE... OUT_DIR",
        )
    model = config.policy.model
    if model is not None and model.startswith(("/", ".", "~")) and not os.path.isdir(model):
        raise ConfigError(
            f"policy.model: there is no folder {model}",
            "Give the folder of a model or its name on the hub: --set policy.model=NAME",
        )


def _explain(problem: dict[str, Any]) -> str:
    """One line for one pydantic problem, with the nearest known key for an unknown one."""
    where = ".".join(str(part) for part in problem["loc"] if part not in JUDGE_KINDS)
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(problem["loc"][-1]), _known_keys(problem["loc"]), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"unknown key {where}{hint}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return message
    if problem["type"] == "union_tag_invalid":
        kinds = problem["ctx"]["expected_tags"].replace("'", "")
        return f"{where}.kind must be one of {kinds} (found {problem['ctx']['tag']!r})"
    found = "" if problem["type"] == "missing" else f" (found {problem['input']!r})"
    return f"{where}: {message}{found}"


def _known_keys(location: tuple[str | int, ...]) -> list[str]:
    """Keys of the section that `location` lies in; of a union, those of the kind that was named."""
    found: list[type[Section]] = [CampaignConfig]
    for part in location[:-1]:
        fields = [m.model_fields[str(part)] for m in found if str(part) in m.model_fields]
        found = [s for f in fields for s in _sections(f.annotation)] or _of_kind(found, part)
    return [name for section in found for name in section.model_fields]


def _sections(annotation: Any) -> list[type[Section]]:
    """The sections that a field may hold."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [s for part in getattr(annotation, "__args__", ()) for s in _sections(part)]


def _of_kind(found: list[type[Section]], kind: str | int) -> list[type[Section]]:
    """Those of that kind, which pydantic names among the keys of an error; else all."""
    return [s for s in found if kind in get_args(_kind_of(s))] or found


def _kind_of(section: type[Section]) -> Any:
    return section.model_fields["kind"].annotation if "kind" in section.model_fields else None
