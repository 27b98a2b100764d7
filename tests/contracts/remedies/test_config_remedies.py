"""Each remedy that an error of flows/config names, followed literally, works.

A case is a config that is refused and, for each remedy that the message names, the config that
follows it. Whoever adds an error adds its case: the last test says which have none.
"""

import copy
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))
from said import ROOT, raised

from dpo_core import processor
from dpo_core.campaign.layout import Layout
from dpo_core.errors import BadInput, ConfigError
from dpo_core.loss_options import TRAITS
from flows.config import load_config, validate
from flows.config.attempts import check_rejected_rounds
from flows.config.paths import check_functions
from flows.config.precision import with_precision
from flows.config.raw import RawConfig
from flows.config.reading import check_is_campaign, read_stored

GONE = object()
"""In place of a value: the key is not there."""

Changes = dict[str, Any]

RULE = {"function": "m:score"}
BOTH = {
    "kind": "committee",
    "members": [{"kind": "rule", "function": "m:score"}, {"kind": "human"}],
}
HUMAN = {
    "judge": {"kind": "human"},
    "evaluation_judge": RULE,
    "pairs": {"strategy": "random"},
}


@dataclass(frozen=True)
class Case:
    """`bad` is refused; `mended`: what the message says to do → the changes that do it."""

    bad: Changes
    mended: dict[str, Changes] = field(default_factory=dict)


def changed(config: Changes, changes: Changes) -> Changes:
    """A copy with values at dotted keys."""
    made = copy.deepcopy(config)
    for key, value in changes.items():
        *sections, last = key.split(".")
        section = made
        for name in sections:
            section = section.setdefault(name, {})
        if value is GONE:
            del section[last]
        else:
            section[last] = copy.deepcopy(value)
    return made


SOFT = [name for name, traits in TRAITS.items() if traits.soft_labels]
RETRY = {"gate.otherwise": "retry", "gate.retry": {"changes": [{"training.beta": "2x"}]}}
CASES = [
    # ── machines ─────────────────────────────────────────────────────────────────────────────────
    Case(
        {"compute.kind": "ray", "training.torchrun": ["--nnodes=2", "--node-rank=0"]},
        {
            "remove training.torchrun": {"training.torchrun": GONE},
            "set compute.kind to local": {"compute.kind": "local"},
        },
    ),
    Case(
        {"compute.address": "node-a:6379"},
        {
            "set compute.kind to ray": {"compute.kind": "ray"},
            "remove compute.address": {"compute.address": GONE},
        },
    ),
    Case(
        {"compute.nodes": 2},
        {
            "set compute.kind to ray and compute.address to that of the cluster": {
                "compute.kind": "ray",
                "compute.address": "node-a:6379",
            },
            "remove compute.nodes": {"compute.nodes": GONE},
        },
    ),
    Case(
        {"compute.cache_dir": "/cache"},
        {
            "set compute.kind to ray and storage.url to a bucket": {
                "compute.kind": "ray",
                "storage.url": "file:///bucket",
            },
            "remove compute.cache_dir": {"compute.cache_dir": GONE},
        },
    ),
    Case(
        {
            "storage.url": "file:///bucket",
            "compute": {
                "kind": "ray",
                "address": "node-a:6379",
                "nodes": 2,
                "cache_dir": "/cache",
            },
        },
        {"remove one of them": {"compute.nodes": GONE}},
    ),
    Case(
        {
            "storage": {"url": "file:///bucket", "checkpoints": True},
            "compute": {"kind": "ray", "cache_dir": "/cache"},
        },
        {"remove one of them": {"storage.checkpoints": GONE}},
    ),
    # ── storage ──────────────────────────────────────────────────────────────────────────────────
    Case({"storage.url": "/bucket"}, {"gs://, az://, file://": {"storage.url": "file:///bucket"}}),
    Case(
        {"storage.url": "s3://key:secret@bucket"},
        {"credentials come from the store's own chain": {"storage.url": "file:///bucket"}},
    ),
    # ── one source for each thing ────────────────────────────────────────────────────────────────
    Case(
        {"prompts.gate_share": 0.9},
        {"lower them until their sum is below 1": {"prompts.gate_share": 0.2}},
    ),
    Case({"policy.revision": "main"}, {"remove it": {"policy.revision": GONE}}),
    Case(
        {"policy": {"model": "org/name", "build_args": {"layers": 1}}},
        {"remove it": {"policy.build_args": GONE}},
    ),
    Case({"policy.model": "org/name"}, {"exactly one": {"policy.model": GONE}}),
    Case({"policy": {}}, {"exactly one": {"policy": {"model": "org/name"}}}),
    Case({"prompts.function": "m:prompts"}, {"exactly one": {"prompts.path": GONE}}),
    Case({"sft": {"steps": 2}}, {"exactly one": {"sft.function": "m:rows"}}),
    # ── judges and people ────────────────────────────────────────────────────────────────────────
    Case(
        {"evaluation_judge": {"kind": "human"}},
        {
            "set a rule": {"evaluation_judge": {"kind": "rule", "function": "m:score"}},
            "a reward model": {"evaluation_judge": {"kind": "reward_model", "model": "org/rm"}},
            "a language model": {"evaluation_judge": {"kind": "llm", "model": "org/lm"}},
        },
    ),
    Case(
        {"judge": {"kind": "human"}, "pairs.strategy": "random"},
        {
            "{kind: rule, function: 'my_judge:score'}": {
                "evaluation_judge": yaml.safe_load("{kind: rule, function: 'my_judge:score'}")
            }
        },
    ),
    Case(
        {"people": {"min_submitted": 2}, "evaluation_judge": RULE, "pairs.strategy": "random"},
        {
            "remove it": {"people": GONE},
            "set judge to {kind: human}": {"judge": {"kind": "human"}},
            "add a member of kind human to a committee": {"judge": BOTH},
        },
    ),
    Case(
        {**HUMAN, "people": {"gold": "{here}/gold.jsonl", "gold_share": 0.5, "repeat_share": 0.5}},
        {"lower them until their sum is below 1": {"people.gold_share": 0.4}},
    ),
    Case(
        {**HUMAN, "people": {"gold_share": 0.1}},
        {
            "set a file of known pairs and their share": {"people.gold": "{here}/gold.jsonl"},
            "or neither": {"people.gold_share": GONE},
        },
    ),
    Case(
        {"budget.human_labels": 50},
        {
            "remove it": {"budget.human_labels": GONE},
            "make judge a committee with a member of kind human": {"judge": BOTH},
        },
    ),
    Case(
        {**HUMAN, "people": {"min_submitted": 3}, "budget.human_labels": 2},
        {
            "raise the first": {"budget.human_labels": 3},
            "lower the second": {"people.min_submitted": 2},
        },
    ),
    Case(
        {**HUMAN, "people": {"at_deadline": "judge", "deadline_hours": 1}},
        {
            "set it to use": {"people.at_deadline": "use"},
            "or stop": {"people.at_deadline": "stop"},
            "make the judge a committee with another member": {"judge": BOTH},
        },
    ),
    Case(
        {**HUMAN, "people": {"mode": "review"}},
        {
            "set it to blind": {"people.mode": "blind"},
            "make the judge a committee with another member": {"judge": BOTH},
        },
    ),
    # ── sampling, pairs, data ────────────────────────────────────────────────────────────────────
    Case(
        {"sampling.samples_per_prompt": 1},
        {"must be at least 2": {"sampling.samples_per_prompt": 2}},
    ),
    Case(
        {"sampling.budget_tokens": 1000},
        {
            "set sampling.until_pairs": {"sampling.until_pairs": 5},
            "remove the budget": {"sampling.budget_tokens": GONE},
        },
    ),
    *(
        Case(
            {**margins, key: value},
            {"remove it": {key: GONE}, how: then},
        )
        for key, value in (("sampling.until_pairs", 5), ("prompts.prefer", "informative"))
        for margins, how, then in (
            (
                {"judge.gives": "verdict", "pairs.strategy": "random"},
                "use a judge that scores",
                {"judge.gives": "score", "pairs.strategy": "best_worst"},
            ),
            (
                {"pairs.strategy": "random"},
                "set the strategy to best_worst",
                {"pairs.strategy": "best_worst"},
            ),
        )
    ),
    Case(
        {"prompts.prefer": "informative", "prompts.reuse": False},
        {"remove one of them": {"prompts.prefer": GONE}},
    ),
    *(
        Case(
            {"pairs.rejected_from": {"round": 0}, **margins},
            {"remove it": {"pairs.rejected_from": GONE}, how: then},
        )
        for margins, how, then in (
            (
                {"judge.gives": "verdict", "pairs.strategy": "random"},
                "use a judge that scores",
                {"judge.gives": "score", "pairs.strategy": "best_worst"},
            ),
            (
                {"pairs.strategy": "random"},
                "set the strategy to best_worst",
                {"pairs.strategy": "best_worst"},
            ),
        )
    ),
    Case(
        {"pairs.rejected_from": "org/name", "training.reference_logps": "from_sampling"},
        {
            "set reference_logps to pass": {"training.reference_logps": "pass"},
            "remove rejected_from": {"pairs.rejected_from": GONE},
        },
    ),
    Case(
        {"pairs.rejected_from": {"round": 3}},
        {
            "name an earlier round": {"pairs.rejected_from.round": 2},
            "or 0 for the base": {"pairs.rejected_from.round": 0},
            "raise rounds": {"rounds": 4},
        },
    ),
    Case(
        {"pairs.rejected_from": "/nowhere/model"},
        {
            "Give the folder of a model": {"pairs.rejected_from": "{here}/model"},
            "its hub id: --set pairs.rejected_from=NAME": {"pairs.rejected_from": "org/name"},
        },
    ),
    Case(
        {"sampling": {"max_model_len": 64, "max_tokens": 64}},
        {
            "lower the first": {"sampling.max_tokens": 63},
            "raise the second": {"sampling.max_model_len": 65},
        },
    ),
    Case(
        {"sampling": {"engine": "transformers", "tensor_parallel_size": 2}},
        {
            "remove it": {"sampling.tensor_parallel_size": GONE},
            "set sampling.engine to vllm": {"sampling.engine": "vllm"},
        },
    ),
    Case(
        {"sampling": {"engine": "transformers"}, "compute": {"sampling_workers": 2}},
        {
            "remove it": {"compute.sampling_workers": GONE},
            "set sampling.engine to vllm": {"sampling.engine": "vllm"},
        },
    ),
    Case(
        {"judge.gives": "verdict"},
        {
            "set pairs.strategy to random": {"pairs.strategy": "random"},
            "use a judge that scores": {"judge.gives": "score"},
        },
    ),
    Case(
        {"data.rounds": {"mix": {"imported": 0.5}}},
        {
            "remove it": {"data.rounds.mix.imported": GONE},
            "set data.imported to a folder": {"data.imported": "{here}/imported"},
        },
    ),
    Case(
        {"data.rounds": "latst"},
        {
            "latest": {"data.rounds": "latest"},
            "all": {"data.rounds": "all"},
            "last: k": {"data.rounds": {"last": 2}},
            "mix: {latest: 0.7, earlier: 0.3}": {
                "data.rounds": yaml.safe_load("mix: {latest: 0.7, earlier: 0.3}")
            },
        },
    ),
    # ── gate and end ─────────────────────────────────────────────────────────────────────────────
    Case(
        {"gate.kl_budget": 5.0, "sampling": {"temperature": 0.7, "top_p": 0.9}},
        {
            "set both to 1": {"sampling.temperature": 1, "sampling.top_p": 1},
            "remove gate.kl_budget": {"gate.kl_budget": GONE},
        },
    ),
    Case(
        {"gate.false_promotions": 0.05, "gate.use": "estimate"},
        {
            "set gate.use to lower": {"gate.use": "lower"},
            "remove gate.false_promotions": {"gate.false_promotions": GONE},
        },
    ),
    Case(
        {"gate.at_most_prompts": 512},
        {
            "remove it": {"gate.at_most_prompts": GONE},
            "set gate.false_promotions to 0.05": {"gate.false_promotions": 0.05},
        },
    ),
    Case(
        {"gate.when_used_up": "gate_set"},
        {
            "remove it": {"gate.when_used_up": GONE},
            "set gate.false_promotions to 0.05": {"gate.false_promotions": 0.05},
        },
    ),
    Case(
        {"training.learning_rate": "half"},
        {
            "a finite number above 0": {"training.learning_rate": 1e-6},
            "auto, or": {"training.learning_rate": "auto"},
            "such as 0.5x": {"training.learning_rate": "0.5x"},
        },
    ),
    Case(
        {"training.warmup_steps": 5, "training.warmup_share": 0.1},
        {"remove one of the two": {"training.warmup_share": GONE}},
    ),
    Case(
        {"stop.money": 10},
        {
            "prices.gpu_hour": {"prices.gpu_hour": 2.0},
            "prices.label": {"prices.label": 0.1},
            "remove stop.money": {"stop.money": GONE},
        },
    ),
    Case(
        {**RETRY, "gate.retry.attempts": 2},
        {
            "list a change for each": {
                "gate.retry.changes": [{"training.beta": "2x"}, {"training.beta": "3x"}]
            },
            "lower attempts": {"gate.retry.attempts": 1},
        },
    ),
    Case(
        {**RETRY, "gate.retry.changes": [{}]},
        {
            "each attempt must change at least one key": {
                "gate.retry.changes": [{"training.beta": 2}]
            }
        },
    ),
    Case(
        {"gate.otherwise": "retry"},
        {
            "gate: {otherwise: retry, retry: {changes: [{training.beta: 2x}]}}": yaml.safe_load(
                "gate: {otherwise: retry, retry: {changes: [{training.beta: 2x}]}}"
            )
        },
    ),
    Case(
        {**RETRY, "gate.otherwise": "keep"},
        {
            "remove it": {"gate.retry": GONE},
            "set gate.otherwise to retry": {"gate.otherwise": "retry"},
        },
    ),
    Case(
        {**RETRY, "training.beta": 0.2, "gate.retry.changes": [{"training.beta": 0.2}]},
        {
            "Give other values": {"gate.retry.changes": [{"training.beta": 0.3}]},
            "or remove the entry": {"gate.retry": GONE, "gate.otherwise": GONE},
        },
    ),
    Case(
        {**RETRY, "gate.retry.changes": [{"seed": 1}]},
        {"An attempt may change training": {"gate.retry.changes": [{"training.beta": 0.7}]}},
    ),
    Case(
        {**RETRY, "gate.retry.changes": [{"training.loss": "2x"}]},
        {"Give the value itself": {"gate.retry.changes": [{"training.loss": "ipo"}]}},
    ),
    Case(
        {"promote": {"use": "lower"}},
        {
            "is now called gate, with the same keys: rename it": {
                "promote": GONE,
                "gate": {"use": "lower"},
            },
            "gate.use estimate": {"promote": GONE, "gate.use": "estimate"},
        },
    ),
    Case(
        {
            "gate": {"false_promotions": 0.05, "at_most_prompts": 10},
            "evaluation.gate_prompts": 64,
        },
        {
            "raise the first": {"gate.at_most_prompts": 64},
            "lower the second": {"evaluation.gate_prompts": 10},
        },
    ),
    Case(
        {"gate.when_used_up": "gate_set"},
        {
            "remove it": {"gate.when_used_up": GONE},
            "set gate.false_promotions to 0.05": {"gate.false_promotions": 0.05},
        },
    ),
    Case(
        {"gate.at_most_prompts": 5000},
        {
            "remove it": {"gate.at_most_prompts": GONE},
            "set gate.false_promotions to 0.05": {"gate.false_promotions": 0.05},
        },
    ),
    Case(
        {"gate": {"use": "estimate", "false_promotions": 0.05}},
        {
            "set gate.use to lower": {"gate.use": "lower"},
            "remove gate.false_promotions": {"gate.false_promotions": GONE},
        },
    ),
    Case(
        {"evaluation.relevance": 1},
        {
            "auto": {"evaluation.relevance": "auto"},
            "a number of requests of at least 2": {"evaluation.relevance": 2},
            "null to switch it off": {"evaluation.relevance": None},
        },
    ),
    Case(
        {"judge": {**RULE, "relevance": 8, "gives": "verdict"}, "pairs.strategy": "random"},
        {"remove one of them": {"judge": {**RULE, "gives": "verdict"}}},
    ),
    Case(
        {
            "evaluation.suites": {
                "s": {"prompts": "{here}/prompts.jsonl", "judge": {**RULE, "relevance": 8}}
            }
        },
        {"remove it": {"evaluation.suites.s.judge.relevance": GONE}},
    ),
    Case(
        {"judge.relevance": 8},
        {
            "remove it": {"judge.relevance": GONE},
            "add an evaluation_judge": {"evaluation_judge": RULE},
        },
    ),
    Case(
        {"gate.kl_budget": 0},
        {
            "auto": {"gate.kl_budget": "auto"},
            "a number of nats above 0": {"gate.kl_budget": 5.0},
            "null for no limit": {"gate.kl_budget": None},
        },
    ),
    Case(
        {"gate.length": [2, 3]},
        {
            "[least, most] with 1 between the two, as in [0.5, 2]": {"gate.length": [0.5, 2]},
            "null for no limit": {"gate.length": None},
        },
    ),
    Case(
        {**RETRY, "gate.retry.changes": [{"training.beta": f"{'9' * 400}x"}]},
        {"Give a smaller multiple": {"gate.retry.changes": [{"training.beta": "9x"}]}},
    ),
    Case(
        {"schedule.cron": "0 2"},
        {'such as "0 2 * * 1"': {"schedule.cron": "0 2 * * 1"}},
    ),
    Case(
        {"schedule.timezone": "Europe/Berlln"},
        {"such as Europe/Berlin": {"schedule.timezone": "Europe/Berlin"}},
    ),
    # ── training ─────────────────────────────────────────────────────────────────────────────────
    Case(
        {"aggregation.targets": "soft", "training.loss": "hinge"},
        {
            **{name: {"training.loss": name} for name in SOFT},
            "set targets to hard": {"aggregation.targets": "hard"},
        },
    ),
    Case(
        {"aggregation.calibrate": True},
        {
            "make judge a committee of both": {"judge": BOTH},
            "remove it": {"aggregation.calibrate": GONE},
        },
    ),
    Case(
        {"training.reference_logps": "from_sampling", "sampling.temperature": 0.7},
        {
            "set both to 1": {"sampling.temperature": 1, "sampling.top_p": 1},
            "reference_logps to pass": {"training.reference_logps": "pass"},
        },
    ),
    Case(
        {"training.reference_logps": "from_sampling", "data.rounds": "all"},
        {
            "set data.rounds to latest": {"data.rounds": "latest"},
            "reference_logps to pass": {"training.reference_logps": "pass"},
        },
    ),
    # ── values of one key ────────────────────────────────────────────────────────────────────────
    Case(
        {"keep_policies": "some"},
        {
            "all": {"keep_policies": "all"},
            "promoted": {"keep_policies": "promoted"},
            "last: k": {"keep_policies": {"last": 1}},
        },
    ),
    Case(
        {
            "evaluation.suites": {
                "s": {"prompts": "{here}/prompts.jsonl", "judge": {**RULE, "gives": "verdict"}}
            }
        },
        {"set a rule that scores": {"evaluation.suites.s.judge.gives": "score"}},
    ),
    Case(
        {"evaluation.refusal_pattern": "I can't ("},
        {"as in \\( for (": {"evaluation.refusal_pattern": "I can't \\("}},
    ),
    Case(
        {"notify.webhook": "https://example.org/secret"},
        {"name an environment variable": {"notify.webhook": "RATCHET_WEBHOOK"}},
    ),
    Case(
        {"track": "tensorbord"},
        {name: {"track": name} for name in ("mlflow", "trackio", "wandb")},
    ),
    # ── files ────────────────────────────────────────────────────────────────────────────────────
    Case(
        {"prompts.path": "{data_dir}/prompts.jsonl"},
        {"--set data_dir=PATH": {"data_dir": "{here}"}},
    ),
    Case({"data_dir": ["a"]}, {"--set data_dir=PATH": {"data_dir": "{here}"}}),
    Case(
        {"data.imported": "{here}/empty"},
        {"ratchet import FILE... OUT_DIR": {"data.imported": "{here}/imported"}},
    ),
    Case(
        {"policy": {"model": "/nowhere/model"}},
        {
            "Give the folder of a model": {"policy.model": "{here}/model"},
            "a .gguf file": {"policy.model": "{here}/model.gguf"},
            "a hub id: --set policy.model=NAME": {"policy.model": "org/name"},
        },
    ),
    Case(
        {"evaluation.suites": {"s": {"harness": "ifeval", "data": "/nowhere"}}},
        {"--set evaluation.suites.s.data=DIR": {"evaluation.suites.s.data": "{here}/empty"}},
    ),
    Case(
        {"prompts.path": "{here}/empty"},
        {
            "--set prompts.path=PATH": {"prompts.path": "{here}/prompts.jsonl"},
            "Put the first prompts there": {"prompts.path": "{here}/pool"},
        },
    ),
    *(
        Case({key: "/nowhere", **more}, {f"--set {key}=PATH": {key: "{here}/prompts.jsonl"}})
        for key, more in (
            ("prompts.path", {}),
            ("sft.path", {}),
            ("people.gold", {**HUMAN, "people.gold_share": 0.1}),
        )
    ),
]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with the files that cases name."""
    for name in ("prompts", "gold"):
        (tmp_path / f"{name}.jsonl").write_text('{"prompt": "why?"}\n')
    for name in ("empty", "model", "pool", "imported"):
        (tmp_path / name).mkdir()
    (tmp_path / "model.gguf").touch()
    (tmp_path / "pool" / "prompts.jsonl").write_text('{"prompt": "why?"}\n')
    pq.write_table(pa.table({"prompt": ["why?"]}), tmp_path / "imported" / "pairs.parquet")
    return tmp_path


def load(here: Path, config: Changes, *overrides: str) -> None:
    path = here / "config.yaml"
    text = yaml.safe_dump(config).replace("{here}", str(here))
    path.write_text(text, encoding="utf-8")
    load_config(path, overrides)


def good(*changes: Changes) -> Changes:
    made: Changes = {
        "name": "remedies",
        "policy": {"build": "m:build"},
        "prompts": {"path": "{here}/prompts.jsonl"},
        "judge": {"function": "m:score"},
    }
    for each in changes:
        made = changed(made, each)
    return made


@pytest.mark.parametrize("case", CASES, ids=lambda case: ", ".join(case.bad))
def test_what_the_message_says_to_do_works(case: Case, here: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        load(here, good(case.bad))
    said = f"{refused.value.message}\n{refused.value.remedy}"
    assert case.mended, "each error names what to do"
    for remedy, changes in case.mended.items():
        assert remedy in said
        load(here, good(case.bad, changes))


Mended = Callable[[Path], None]


def _is_accepted(text: str | None = None, *overrides: str) -> Mended:
    def mended(here: Path) -> None:
        (here / "c.yaml").write_text(
            text or yaml.safe_dump(good()).replace("{here}", str(here)), encoding="utf-8"
        )
        load_config(here / "c.yaml", overrides)

    return mended


def _code(function: str) -> Mended:
    def check(here: Path) -> None:
        config = good({"judge.function": function, "policy": {"model": "org/name"}})
        (here / "c.yaml").write_text(yaml.safe_dump(config).replace("{here}", str(here)))
        check_functions(load_config(here / "c.yaml"))

    return check


def _stored(content: bytes | None) -> Mended:
    """campaign.yaml holds these bytes, or the config that it was run with."""

    def read(here: Path) -> None:
        layout = Layout(here)
        layout.config.write_bytes(content or yaml.safe_dump(good()).encode())
        read_stored(layout)

    return read


def _campaign(here: Path) -> None:
    (here / "campaign.yaml").write_text("name: made by ratchet run\n")
    check_is_campaign(Layout(here))


def _resumed_in(dtype: str) -> Mended:
    """A campaign begun in bfloat16 goes on, on a machine that has neither such a CPU nor a GPU."""

    def resume(here: Path) -> None:
        begun = {"sampling": {"dtype": "bfloat16"}, "training": {"compute_dtype": "bfloat16"}}
        asked = good({"sampling.dtype": dtype, "training.compute_dtype": dtype})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(processor, "_FACTS", here / "none")
            patch.setenv("PATH", str(here))
            with_precision(validate(asked, "test"), RawConfig(begun))

    return resume


def _rejecting(number: int, first: int = 1) -> Mended:
    config = validate(good({"pairs.rejected_from": {"round": number}}), "test")
    return lambda here: check_rejected_rounds(config, first)


OTHERS: dict[str, tuple[Mended, str, Mended]] = {
    "no such file": (
        lambda here: load_config(here / "nowhere.yaml") and None,
        "Check the path",
        _is_accepted(),
    ),
    "no YAML": (_is_accepted("a: [1"), "is not valid YAML: while parsing", _is_accepted()),
    "no mapping": (_is_accepted("- a\n"), "must hold keys and values", _is_accepted()),
    "no key=value": (
        _is_accepted(None, "training.beta"),
        "for example training.beta=0.2",
        _is_accepted(None, "training.beta=0.2"),
    ),
    "no YAML value": (
        _is_accepted(None, "training.beta=[1"),
        "is not a YAML value",
        _is_accepted(None, "training.beta=0.2"),
    ),
    "a key below a value": (
        _is_accepted(None, "name.first=a"),
        "name is a value and has no keys below it",
        _is_accepted(None, "name=a"),
    ),
    "too deep": (
        _is_accepted("a: " + "[" * 60 + "]" * 60),
        "sections are nested too deeply or recursively",
        _is_accepted(),
    ),
    "no value": (_is_accepted("a: !!int x"), "holds a value that cannot be read", _is_accepted()),
    "no such function": (_code("math:fsun"), "fsum", _code("math:fsum")),
    "a campaign's config in no encoding": (
        _stored(b"name: \xff"),
        "Restore the campaign's config there",
        _stored(None),
    ),
    "something else in its place": (
        _stored(b"- a"),
        "Restore the campaign's config there",
        _stored(None),
    ),
    "begun in bfloat16": (
        _resumed_in("auto"),
        "--set sampling.dtype=float32 --set training.compute_dtype=float32",
        _resumed_in("float32"),
    ),
    "a policy that is not there yet": (
        _rejecting(1),
        "Name a round before round 1, or 0 for the base",
        _rejecting(0),
    ),
    "a policy of the campaign that a branch leaves": (
        _rejecting(1),
        "then ratchet branch CAMPAIGN_DIR --from-round 1",
        _rejecting(1, first=2),
    ),
    "no campaign": (
        lambda here: check_is_campaign(Layout(here)),
        "`ratchet run CONFIG` creates one",
        _campaign,
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_other_messages_say_to_do_works(name: str, here: Path) -> None:
    bad, remedy, mended = OTHERS[name]
    with pytest.raises(BadInput) as refused:
        bad(here)
    assert remedy in f"{refused.value.message}\n{refused.value.remedy}"
    mended(here)


def test_every_error_has_its_case(here: Path) -> None:
    said = []
    for case in CASES:
        with pytest.raises(ConfigError) as refused:
            load(here, good(case.bad))
        said.append((refused.value.message, refused.value.remedy))
    for bad, _, _ in OTHERS.values():
        (here / "campaign.yaml").unlink(missing_ok=True)
        with pytest.raises(BadInput) as refused_too:
            bad(here)
        said.append((refused_too.value.message, refused_too.value.remedy))
    without = [
        f"{site.where}: {site.what}"
        for folder in ("flows/config", "dpo_core/gate")
        for site in raised(ROOT / folder)
        if not any(site.says(*each) for each in said)
    ]
    assert without == [], "add a case to CASES: what is refused, and what its message says to do"
