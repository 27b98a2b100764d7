"""Each remedy that a finding of `ratchet doctor` names, followed literally, works.

A case makes a finding, and for each remedy that it names makes the check look at what follows it.
Whoever adds a finding adds its case: the last test says which have none.
"""

import json
import socket
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from said import ROOT, found, raised

from dpo_core.campaign.layout import Layout
from dpo_core.children import Child
from dpo_core.errors import BadInput, ChildFailed, RatchetError
from dpo_core.model_shape import Shape
from dpo_core.schemas import IMPORTED
from dpo_core.storage.objects import _Obstore
from flows.config import CampaignConfig
from flows.doctor import cluster, examine, machine, memory, policy, prompts, servers
from flows.doctor import inputs as judges
from flows.doctor import machine as disk
from flows.doctor.examine import check_before_run
from flows.doctor.findings import DoctorFinding, problem
from flows.doctor.inputs import check_inputs
from flows.doctor.machine import MEASURED
from flows.doctor.memory import Device, size_of
from flows.doctor.new_campaign import check_new_campaign
from flows.doctor.prompts import PromptRoom, check_draws, check_rejected
from flows.doctor.storage import check_storage
from generation.config import PromptsConfig
from generation.probe import probe_tokens
from generation.probe_jobs import Machine, PolicyFound, ProbeTokens, TokenCounts
from tests.flows.doctor.doctor_folder import (
    ENVIRONMENT,
    LLAMA_8B,
    WORDS,
    answering,
    chat,
    write_config,
    write_policy,
    write_prompts,
    write_weights,
)
from tests.tiny_gguf import write_tiny_gguf

Findings = Iterable[DoctorFinding] | DoctorFinding


@dataclass
class Here:
    """A folder with a policy, prompts and a config that would work, and a server that answers."""

    folder: Path
    url: str
    replies: dict[str, Any]

    @property
    def policy(self) -> Path:
        return self.folder / "policy"

    def write(self, name: str, content: Any) -> None:
        (self.policy / name).write_text(json.dumps(content))

    def remove(self, *names: str) -> None:
        for name in names:
            (self.policy / name).unlink()

    def write_prompts(self, rows: Iterable[Any]) -> None:
        write_prompts(self.folder, rows)

    def config(self, **changes: Any) -> CampaignConfig:
        return write_config(self.folder, **changes)

    def files(self) -> Findings:
        return policy.check_files(self.policy)

    def template(self) -> Findings:
        chat = prompts.read(self.config()).chat
        return policy.check_template(self.policy, chat=chat)

    def rejected(self) -> Findings:
        config = self.config(pairs={"rejected_from": str(self.policy)})
        chat = prompts.read(config).chat
        return check_rejected(config, Layout(self.folder / "none"), chat=chat, fetch=False)

    def pool(self, **changes: Any) -> Findings:
        config = self.config(**changes)
        return prompts.check_pool(prompts.read(config), config)

    def power(self, **changes: Any) -> Findings:
        config = self.config(**changes)
        return prompts.check_power(prompts.read(config), config)

    def overlap(self) -> Findings:
        config = self.config()
        return prompts.check_overlap(prompts.read(config), config)

    def bos(self) -> Findings:
        asked = PromptsConfig(path=str(self.pool_file))
        job = ProbeTokens(folder=self.policy, revision=None, prompts=asked, room=99)
        return prompts.check_bos(probe_tokens(job))

    @property
    def pool_file(self) -> Path:
        return self.folder / "prompts.jsonl"

    def argilla(self, **environment: str) -> Findings:
        asking = self.config(
            judge={"kind": "human"},
            evaluation_judge={"function": "examples.reviews.judge:score"},
            pairs={"strategy": "random"},
            people={"server_dir": str(self.folder / "argilla")},
        )
        return servers.check_argilla(asking, environment)

    def argilla_answers(self, version: str = "2.8.0", me: Any = None) -> Findings:
        self.replies["/api/v1/version"] = {"version": version}
        self.replies["/api/v1/me"] = {} if me is None else me
        return self.argilla(ARGILLA_API_URL=self.url, ARGILLA_API_KEY="key")

    def prefect(
        self, url: str | None, client: str = "3.7.7", reply: Any = "3.7.7", **more: str
    ) -> Findings:
        self.replies["/api/admin/version"] = reply
        return servers.check_prefect(client, {"PREFECT_API_URL": url, **more} if url else {})


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Here]:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    replies: dict[str, Any] = {}
    with answering(replies) as url:
        made = Here(tmp_path, url, replies)
        write_policy(made.policy)
        made.write_prompts(f"prompt {n}" for n in range(200))
        yield made


Look = Callable[[Here], Findings]


@dataclass(frozen=True)
class Case:
    """`bad` makes a finding; `mended`: remedy → a look at what follows it."""

    bad: Look
    mended: dict[str, Look]


def after(change: Callable[[Here], Any], look: Look) -> Look:
    def changed(here: Here) -> Findings:
        change(here)
        return look(here)

    return changed


def tokenizer(here: Here, template: str | None = None) -> None:
    """A real one, whose BOS is `<s>` and begins every plain text."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(WordLevel({"<unk>": 0, "<s>": 1, "</s>": 2, "why": 3}, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    words.add_special_tokens(["<s>", "</s>"])
    words.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    made = PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    made.chat_template = template
    made.save_pretrained(here.policy)


def the_disk(free_gib: float, keep: Any = "all", rounds: int = 20) -> Look:
    def look(here: Here) -> Findings:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(disk, "free_bytes", lambda _: free_gib * 2**30)
            config = here.config(rounds=rounds, keep_policies=keep)
            return disk.check_disk(config, here.folder, LLAMA_8B)

    return look


def the_memory(gib: float, shape: Shape = LLAMA_8B, gpu: bool = False, **changes: Any) -> Look:
    def look(here: Here) -> Findings:
        size, device = size_of(shape), Device(gpu=gpu, gib=gib)
        assert size is not None
        estimated = memory.estimate(shape, size, here.config(**changes), device)
        return memory.check_memory(estimated, device)

    return look


SMALL = Shape(135_000_000, 30, 576, 1536, 49152, 3, 64, 2048)


def lengths(
    max_model_len: int = 64, max_tokens: int = 16, longest: int = 60, few: int = 40
) -> Look:
    """Of ten prompts, three of `longest` tokens and seven of `few`; the model takes 128."""

    def look(here: Here) -> Findings:
        room = PromptRoom(max_model_len, max_tokens, positions=128)
        too_long = 3 * (longest > room.tokens) + 7 * (few > room.tokens)
        counted = TokenCounts(prompts=10, longest=max(longest, few), too_long=too_long)
        return prompts.check_lengths(counted, room)

    return look


def draws(**sampling: int) -> Look:
    """Of 10 prompts at a time, with 4 answers of 16 tokens."""

    def look(here: Here) -> Findings:
        sampled = {"samples_per_prompt": 4, "max_tokens": 16, **sampling}
        config = here.config(sampling=sampled, prompts={"per_round": 10})
        return check_draws(config, prompts.read(config).splits["train"])

    return look


def new(**changes: Any) -> Look:
    """At a new campaign, without a network."""

    def look(here: Here) -> Findings:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
            return [*check_new_campaign(here.config(**changes), Layout(here.folder / "new"))]

    return look


def _more_prompts(here: Here) -> None:
    here.write_prompts(f"prompt {n}" for n in range(700))


SUITE = {"prompts": "suite.jsonl", "judge": {"function": "examples.reviews.judge:score"}}


def the_inputs(written: Any, **changes: Any) -> Look:
    """Of a suite's file, or of imported preferences."""

    def look(here: Here) -> Findings:
        place = here.folder / "suite.jsonl"
        if isinstance(written, str):
            place.write_text(written)
        else:
            (here.folder / "imported").mkdir(exist_ok=True)
            pq.write_table(written, here.folder / "imported" / "pairs.parquet")
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(here.folder)
            config = here.config(**changes)
        try:
            check_inputs(config, Layout(here.folder / "new"))
        except RatchetError as error:
            return problem("inputs", error.message, "", error.remedy)
        return []

    return look


class OneChild:
    """Answers every job so, or raises."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def carry_out(self, *_: Any) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def the_policy(answer: Any, **changes: Any) -> Look:
    def look(here: Here) -> Findings:
        findings: list[DoctorFinding] = []
        child = cast(Child, OneChild(answer))
        examine._policy(here.config(**changes), child, here.folder / "built", findings)
        return findings

    return look


def the_tokens(answer: Any) -> Look:
    return lambda here: list(
        examine._check_prompt_tokens(
            here.config(), cast(Child, OneChild(answer)), here.policy, PromptRoom(64, 16)
        )
    )


SHAPE = PolicyFound(folder="policy", shape=Shape(**dict.fromkeys(Shape.__dataclass_fields__, 1)))
COUNTS = TokenCounts(prompts=1, longest=1)
FAILED = ChildFailed("OSError: no file named model.safetensors")
CUDA = {"gpus": (("H100", 80.0),), "driver_cuda": "13.0"}
WORKS = Machine("2.13.0", "13.0", 1, (("H100", 80.0),), "13.0")
CPU = Machine("2.13.0+cpu")
GOOD = {"eos_token_id": 1}


def device(seen: Machine, **changes: Any) -> Look:
    return lambda here: machine.check_devices(seen, here.config(**changes))


def packages(**versions: str | None) -> Look:
    return lambda here: machine.check_packages({**MEASURED, **versions}, here.config())


def gguf_without(*keys: str) -> Look:
    return lambda here: policy.check_files(
        write_tiny_gguf(here.folder / "model.gguf", without=keys)
    )


def the_bucket(name: str) -> Look:
    """A folder of that name. `file` is none, and in `old` objects are written over."""

    def look(here: Here) -> Findings:
        (here.folder / "file").write_text("")
        with pytest.MonkeyPatch.context() as patch:
            if name == "old":
                patch.setattr(_Obstore, "create", _Obstore.put)
            url = f"file://{here.folder}/{name}"
            return check_storage(here.config(storage={"url": url}))

    return look


CASES = {
    # ── the cluster ──────────────────────────────────────────────────────────────────────────────
    "another version on a node": Case(
        lambda here: cluster.check_versions({"": "Ratchet 2", "b": "Ratchet 1"}),
        {
            "Install the same versions on all nodes": lambda here: cluster.check_versions(
                {"": "Ratchet 2", "b": "Ratchet 2"}
            )
        },
    ),
    "fewer nodes than train together": Case(
        lambda here: cluster.check_count(3, 2),
        {"Lower it to at most 2": lambda here: cluster.check_count(2, 2)},
    ),
    "nothing at the address": Case(
        lambda here: cluster.check_cluster(
            here.config(compute={"kind": "ray", "address": "127.0.0.1:1"})
        ),
        {"Start the cluster": lambda here: cluster.check_cluster(here.config())},
    ),
    # ── storage ──────────────────────────────────────────────────────────────────────────────────
    "a bucket that cannot be": Case(
        the_bucket("file"),
        {"Name a folder that can be made: --set storage.url=file:///path": the_bucket("new")},
    ),
    "a bucket that creates an object twice": Case(
        the_bucket("old"),
        {"Use a store with conditional writes": the_bucket("new")},
    ),
    # ── the policy ───────────────────────────────────────────────────────────────────────────────
    "no model": Case(
        lambda here: policy.check_files(here.folder),
        {"Name the folder that save_pretrained wrote": lambda here: here.files()},
    ),
    "no weights": Case(
        after(lambda here: here.remove("model.safetensors"), lambda here: here.files()),
        {"Copy them there": after(lambda h: write_weights(h.policy), lambda h: h.files())},
    ),
    "weights that are torn": Case(
        after(lambda h: (h.policy / "model.safetensors").write_bytes(b"torn"), lambda h: h.files()),
        {"Copy it there again": after(lambda h: write_weights(h.policy), lambda h: h.files())},
    ),
    "a GGUF file that was cut": Case(
        after(
            lambda h: (h.folder / "model.gguf").write_bytes(b"GGUF"),
            lambda h: policy.check_files(h.folder / "model.gguf"),
        ),
        {"Download or copy it again": gguf_without()},
    ),
    "a GGUF file without tokens": Case(
        gguf_without("tokenizer.ggml.tokens", "tokenizer.ggml.merges"),
        {
            "that was converted with its tokenizer": gguf_without(),
            "or the model's folder": lambda here: here.files(),
        },
    ),
    "a GGUF file without an end": Case(
        gguf_without("tokenizer.ggml.eos_token_id"),
        {
            "with tokenizer.ggml.eos_token_id": gguf_without(),
            "or give its folder": lambda here: here.files(),
        },
    ),
    "no tokenizer": Case(
        after(
            lambda here: here.remove("tokenizer.json", "tokenizer_config.json"),
            lambda here: here.files(),
        ),
        {
            "tokenizer.save_pretrained(folder)": after(
                lambda here: tokenizer(here), lambda here: here.files()
            )
        },
    ),
    "no end": Case(
        after(
            lambda h: (h.remove("generation_config.json"), h.write("tokenizer_config.json", {})),
            lambda here: here.files(),
        ),
        {
            "Set eos_token_id in generation_config.json, eos_token in tokenizer_config.json": after(
                lambda h: (
                    h.write("generation_config.json", GOOD),
                    h.write("tokenizer_config.json", {"eos_token": "<eos>"}),
                ),
                lambda here: here.files(),
            )
        },
    ),
    "an end that only the tokenizer names": Case(
        after(lambda here: here.remove("generation_config.json"), lambda here: here.files()),
        {
            "Set eos_token_id in generation_config.json": after(
                lambda here: here.write("generation_config.json", GOOD), lambda here: here.files()
            )
        },
    ),
    "another without a template": Case(
        after(
            lambda here: here.write_prompts(chat(f"{n}?") for n in range(200)),
            lambda here: here.rejected(),
        ),
        {
            "Name a model with a chat template": after(
                lambda h: (h.policy / "chat_template.jinja").write_text("{{ messages }}"),
                lambda here: here.rejected(),
            ),
            "give plain `prompt` text": after(
                lambda h: (
                    (h.policy / "chat_template.jinja").unlink(),
                    h.write_prompts(f"{n}?" for n in range(200)),
                ),
                lambda here: here.rejected(),
            ),
        },
    ),
    "chat without a template": Case(
        after(
            lambda here: here.write_prompts(chat(f"{n}?") for n in range(200)),
            lambda here: here.template(),
        ),
        {
            "a policy with a chat template": after(
                lambda h: (h.policy / "chat_template.jinja").write_text("{{ messages }}"),
                lambda here: here.template(),
            ),
            "Give plain `prompt` text": after(
                lambda h: (
                    (h.policy / "chat_template.jinja").unlink(),
                    h.write_prompts(f"{n}?" for n in range(200)),
                ),
                lambda here: here.template(),
            ),
        },
    ),
    "a template without chat": Case(
        after(
            lambda h: (h.policy / "chat_template.jinja").write_text("{{ messages }}"),
            lambda here: here.template(),
        ),
        {
            "write prompts as `messages`": after(
                lambda here: here.write_prompts(chat(f"{n}?") for n in range(200)),
                lambda here: here.template(),
            )
        },
    ),
    "more positions than there are": Case(
        lambda here: policy.check_length(here.policy, here.config(sampling={"max_model_len": 999})),
        {
            "Set sampling.max_model_len: 128": lambda here: policy.check_length(
                here.policy, here.config(sampling={"max_model_len": 128})
            )
        },
    ),
    "a longer answer than there are positions": Case(
        lambda here: policy.check_length(
            here.policy, here.config(sampling={"max_model_len": None, "max_tokens": 128})
        ),
        {
            "Set sampling.max_model_len: 128 and sampling.max_tokens to at most 127": lambda here: (
                policy.check_length(
                    here.policy, here.config(sampling={"max_model_len": 128, "max_tokens": 127})
                )
            )
        },
    ),
    # ── a new campaign ───────────────────────────────────────────────────────────────────────────
    "a rate of 5": Case(
        new(training={"learning_rate": 5}),
        {
            "Set training.learning_rate to auto": new(training={"learning_rate": "auto"}),
            "1e-5": new(training={"learning_rate": 1e-5}),
        },
    ),
    "more prompts in a round than there are": Case(
        new(prompts={"per_round": 500}),
        {
            "Set prompts.per_round to at most 170": new(prompts={"per_round": 170}),
            "give more prompts": after(_more_prompts, new(prompts={"per_round": 500})),
        },
    ),
    "a rule that answers once": Case(
        new(judge={"function": "builtins:repr"}),
        {"Return one answer for each item": new()},
    ),
    "a model that the hub does not show": Case(
        new(policy={"model": "org/name"}),
        {"Give the folder of a model": new()},
    ),
    "a shortest prompt too long for its answer": Case(
        after(tokenizer, new(sampling={"max_model_len": 18, "max_tokens": 16})),
        {
            "Set sampling.max_model_len to at least 19": new(
                sampling={"max_model_len": 19, "max_tokens": 16}
            ),
            "sampling.max_tokens to at most 15": new(
                sampling={"max_model_len": 18, "max_tokens": 15}
            ),
        },
    ),
    "a folder that holds no policy": Case(
        the_policy(FAILED),
        {
            "Name a folder that save_pretrained wrote": the_policy(SHAPE),
            "a model on the hub that you have access to": the_policy(
                SHAPE, policy={"model": "org/name"}
            ),
        },
    ),
    "a policy that cannot be built": Case(
        the_policy(FAILED, policy={"build": "m:build"}),
        {"Fix m:build": the_policy(SHAPE, policy={"build": "m:build"})},
    ),
    # ── prompts ──────────────────────────────────────────────────────────────────────────────────
    "a split without prompts": Case(
        after(lambda here: here.write_prompts(["one", "two"]), lambda here: here.pool()),
        {
            "Give more prompts": after(
                lambda here: here.write_prompts(f"prompt {n}" for n in range(200)),
                lambda here: here.pool(),
            ),
        },
    ),
    "fewer held-out prompts than requests": Case(
        lambda here: here.pool(evaluation={"relevance": 8, "gate_prompts": 3, "test_prompts": 3}),
        {
            "Give more prompts": lambda here: here.pool(evaluation={"relevance": 8}),
            "raise evaluation.gate_prompts": lambda here: here.pool(
                evaluation={"relevance": 8, "gate_prompts": 5, "test_prompts": 3}
            ),
            "evaluation.test_prompts": lambda here: here.pool(
                evaluation={"relevance": 8, "gate_prompts": 3, "test_prompts": 5}
            ),
            "set evaluation.relevance to 6": lambda here: here.pool(
                evaluation={"relevance": 6, "gate_prompts": 3, "test_prompts": 3}
            ),
            "to 0 to switch it off": lambda here: here.pool(
                evaluation={"relevance": 0, "gate_prompts": 3, "test_prompts": 3}
            ),
        },
    ),
    "a share without prompts": Case(
        lambda here: here.pool(prompts={"gate_share": 1e-9}),
        {
            "change prompts.gate_share and prompts.test_share": lambda here: here.pool(
                prompts={"gate_share": 0.2, "test_share": 0.2}
            )
        },
    ),
    "fewer prompts than rounds want": Case(
        lambda here: here.pool(prompts={"per_round": 150}),
        {
            "lower prompts.per_round": lambda here: here.pool(prompts={"per_round": 50}),
            "Give more": after(
                lambda here: here.write_prompts(f"prompt {n}" for n in range(2000)),
                lambda here: here.pool(prompts={"per_round": 150}),
            ),
        },
    ),
    "fewer prompts than pairs are wanted": Case(
        draws(until_pairs=500),
        {
            "Lower sampling.until_pairs": draws(until_pairs=20),
            "raise sampling.budget_tokens and give more prompts": after(
                lambda here: here.write_prompts(f"prompt {n}" for n in range(2000)),
                draws(until_pairs=500, budget_tokens=500 * 4 * 16),
            ),
        },
    ),
    "gate prompts for fewer promotions than rounds": Case(
        lambda here: here.pool(gate={"false_promotions": 0.05}, rounds=9),
        {
            "raise the first": lambda here: here.pool(
                gate={"false_promotions": 0.05}, rounds=9, prompts={"gate_share": 0.5}
            ),
            "lower the second": lambda here: here.pool(
                gate={"false_promotions": 0.05},
                rounds=9,
                evaluation={"gate_prompts": 1, "test_prompts": 8},
            ),
            "Give more prompts": after(
                lambda here: here.write_prompts(f"prompt {n}" for n in range(4000)),
                lambda here: here.pool(gate={"false_promotions": 0.05}, rounds=9),
            ),
        },
    ),
    "a gate that sees little": Case(
        lambda here: here.power(evaluation={"gate_prompts": 400}),
        {
            "Give more prompts": after(
                lambda here: here.write_prompts(f"prompt {n}" for n in range(4000)),
                lambda here: here.power(evaluation={"gate_prompts": 400}),
            ),
            "raise prompts.gate_share and evaluation.gate_prompts": after(
                lambda here: here.write_prompts(f"prompt {n}" for n in range(900)),
                lambda here: here.power(
                    prompts={"gate_share": 0.5}, evaluation={"gate_prompts": 400}
                ),
            ),
        },
    ),
    "a suite without prompts": Case(
        the_inputs("", evaluation={"suites": {"s": SUITE}}),
        {
            "Add prompts": the_inputs('{"prompt": "why?"}', evaluation={"suites": {"s": SUITE}}),
            "or remove the suite": the_inputs(""),
        },
    ),
    "imported preferences that are none": Case(
        the_inputs(pa.table({"a": [1]}), data={"imported": "imported"}),
        {
            "ratchet import FILE... OUT_DIR": the_inputs(
                pa.Table.from_pylist([{"prompt": "why?"}], schema=IMPORTED),
                data={"imported": "imported"},
            )
        },
    ),
    "held-out prompts among those to train on": Case(
        lambda here: prompts.check_overlap(
            replace(prompts.read(here.config()), duplicates=2), here.config()
        ),
        {"Remove them from the pool": lambda here: here.overlap()},
    ),
    "near copies": Case(
        after(
            lambda here: here.write_prompts(f"{WORDS} {n}" for n in range(200)),
            lambda here: here.overlap(),
        ),
        {
            "remove near copies": after(
                lambda here: here.write_prompts(f"prompt {n}" for n in range(200)),
                lambda here: here.overlap(),
            )
        },
    ),
    "some prompts are too long": Case(
        lengths(),
        {
            "Set sampling.max_model_len to at least 76": lengths(max_model_len=76),
            "sampling.max_tokens to at most 4": lengths(max_tokens=4),
            "shorten the prompts to at most 48 tokens": lengths(longest=48),
        },
    ),
    "no room for any prompt": Case(
        lengths(max_model_len=128, max_tokens=256, longest=6, few=5),
        {
            "Set sampling.max_model_len: 128 and sampling.max_tokens to at most 122": lengths(
                max_model_len=128, max_tokens=122, longest=6, few=5
            )
        },
    ),
    "no room, and prompts that are too long anyway": Case(
        lengths(max_model_len=128, max_tokens=256, longest=200),
        {
            "Shorten the prompts, and set sampling.max_tokens well below 128": lengths(
                max_model_len=128, max_tokens=16, longest=100
            )
        },
    ),
    "all prompts are too long": Case(
        lengths(few=50),
        {
            "Set sampling.max_model_len to at least 76": lengths(few=50, max_model_len=76),
            "sampling.max_tokens to at most 4": lengths(few=50, max_tokens=4),
            "shorten the prompts to at most 48 tokens": lengths(longest=48),
        },
    ),
    "prompts that no tokenizer reads": Case(
        the_tokens(FAILED),
        {"Write prompts that the tokenizer and its chat template accept": the_tokens(COUNTS)},
    ),
    "prompts that cannot be read": Case(
        after(
            lambda here: here.write_prompts([{"promt": "why"}]),
            lambda here: _unreadable(here),
        ),
        {
            row: after(
                lambda here, row=row: here.write_prompts([json.loads(row)]),
                lambda here: _unreadable(here),
            )
            for row in (
                '{"prompt": "Why is the sky blue?"}',
                '{"messages": [{"role": "user", "content": "Why is the sky blue?"}]}',
            )
        },
    ),
    "a BOS that the text spells": Case(
        after(
            lambda here: (tokenizer(here), here.write_prompts(["<s>why"])), lambda here: here.bos()
        ),
        {
            "Remove any BOS written in the prompts": after(
                lambda here: here.write_prompts(["why"]), lambda here: here.bos()
            )
        },
    ),
    "a BOS that the template doubles": Case(
        after(
            lambda here: (
                tokenizer(here, "<s><s>{{ messages[0]['content'] }}"),
                here.write_prompts([chat("why")]),
            ),
            lambda here: here.bos(),
        ),
        {
            "remove one there": after(
                lambda here: tokenizer(here, "<s>{{ messages[0]['content'] }}"),
                lambda here: here.bos(),
            )
        },
    ),
    "a BOS that is not added": Case(
        after(
            lambda here: (tokenizer(here), here.write_prompts(["why"]), _without_bos(here)),
            lambda here: here.bos(),
        ),
        {"restore the policy's files": after(tokenizer, lambda here: here.bos())},
    ),
    # ── judges ───────────────────────────────────────────────────────────────────────────────────
    "one judge for both": Case(
        lambda here: judges.check_same_judge(here.config()),
        {
            "Set an independent evaluation_judge": lambda here: judges.check_same_judge(
                here.config(evaluation_judge={"function": "math:prod"})
            )
        },
    ),
    "a function that is not there": Case(
        lambda here: judges.check_user_code(here.config(judge={"function": "math:fsun"})),
        {"fsum": lambda here: judges.check_user_code(here.config(judge={"function": "math:fsum"}))},
    ),
    # ── the machine ──────────────────────────────────────────────────────────────────────────────
    "an old Python": Case(
        lambda _: machine.check_python((3, 10)),
        {"Install Python 3.11": lambda _: machine.check_python((3, 11))},
    ),
    "another Python": Case(
        lambda _: machine.check_python((3, 13)),
        {"install Python 3.11": lambda _: machine.check_python((3, 11))},
    ),
    "a package that is missing": Case(packages(vllm=None), {"make setup": packages()}),
    "a package of another version": Case(packages(vllm="0.9.0"), {"make setup": packages()}),
    "torch that is broken": Case(
        device(Machine(None, error="ImportError: libcudart")), {"make setup": device(CPU)}
    ),
    "too few GPUs": Case(
        device(WORKS, training={"processes": 4}), {"Lower them": device(WORKS, training={})}
    ),
    "a CPU build beside a GPU": Case(
        device(replace(WORKS, torch="2.13.0+cpu", cuda_build=None, usable=0)),
        {"pip install -e '.[gpu]' in a new environment": device(WORKS)},
    ),
    "an old driver": Case(
        device(replace(WORKS, usable=0, driver_cuda="12.2")),
        {"Update the NVIDIA driver": device(WORKS)},
    ),
    "a CUDA build without a GPU": Case(
        device(Machine("2.13.0", "12.8")), {"make setup installs the CPU builds": device(CPU)}
    ),
    # ── memory and disk ──────────────────────────────────────────────────────────────────────────
    "too little memory": Case(
        the_memory(24),
        {"Take a smaller model": the_memory(24, SMALL)},
    ),
    "memory that is tight": Case(
        the_memory(150, gpu=True),
        {"training.lora": the_memory(150, gpu=True, training={"lora": {"rank": 8}})},
    ),
    "a full disk": Case(
        the_disk(10),
        {
            "Free some space": the_disk(9999),
            "name another folder with --campaign-dir": the_disk(9999),
        },
    ),
    "a disk that fills": Case(
        the_disk(300),
        {
            "Free some space": the_disk(9999),
            "keep fewer weights with keep_policies": the_disk(300, {"last": 1}),
        },
    ),
    # ── servers ──────────────────────────────────────────────────────────────────────────────────
    "Prefect does not answer": Case(
        lambda here: here.prefect("http://127.0.0.1:9/api"),
        {
            "Start it": lambda here: here.prefect(f"{here.url}/api"),
            "unset PREFECT_API_URL": lambda here: here.prefect(None),
            "use --no-prefect": lambda here: (
                check_before_run(
                    here.config(sampling={"engine": "transformers"}),
                    here.folder / "new",
                    with_prefect=False,
                )
                or []
            ),
        },
    ),
    "Prefect refuses": Case(  # what a server of Ratchet takes: tests/flows/prefect/test_guarded.py
        lambda here: here.prefect(f"{here.url}/api", reply=403),
        {
            "PREFECT_API_KEY": lambda here: here.prefect(f"{here.url}/api", PREFECT_API_KEY="key"),
            "PREFECT_API_AUTH_STRING": lambda here: here.prefect(
                f"{here.url}/api", PREFECT_API_AUTH_STRING="user:password"
            ),
            """PREFECT_CLIENT_CUSTOM_HEADERS='{"X-Ratchet-Key": "…"}'""": lambda here: here.prefect(
                f"{here.url}/api", PREFECT_CLIENT_CUSTOM_HEADERS='{"X-Ratchet-Key": "secret"}'
            ),
        },
    ),
    "no address of Prefect": Case(
        lambda here: here.prefect("postgres://somewhere"),
        {"unset PREFECT_API_URL": lambda here: here.prefect(None)},
    ),
    "Prefect of another version": Case(
        lambda here: here.prefect(f"{here.url}/api", "3.6.1"),
        {"Install the same version": lambda here: here.prefect(f"{here.url}/api")},
    ),
    "no Argilla": Case(
        lambda here: here.argilla(),
        {"set ARGILLA_API_URL and ARGILLA_API_KEY": lambda here: here.argilla_answers()},
    ),
    "half of an Argilla": Case(
        lambda here: here.argilla(ARGILLA_API_URL=here.url),
        {"Set both ARGILLA_API_URL and ARGILLA_API_KEY": lambda here: here.argilla_answers()},
    ),
    "Argilla does not answer": Case(
        lambda h: h.argilla(ARGILLA_API_URL="http://127.0.0.1:9", ARGILLA_API_KEY="key"),
        {"Start it with `ratchet label serve`": lambda here: here.argilla_answers()},
    ),
    "Argilla refuses the key": Case(
        lambda here: here.argilla_answers(me=401),
        {"Give an owner's key": lambda here: here.argilla_answers()},
    ),
    "Argilla of another version": Case(
        lambda here: here.argilla_answers("2.6.0"),
        {"Prefer version 2.8.0": lambda here: here.argilla_answers()},
    ),
}


def _unreadable(here: Here) -> Findings:
    findings: list[DoctorFinding] = []
    examine._pool(here.config(), findings)
    return [f for f in findings if f.where == "prompts" and "split" not in f.what]


def _without_bos(here: Here) -> None:
    """The tokenizer says that it adds a BOS, and its post-processor no longer does."""
    settings = json.loads((here.policy / "tokenizer_config.json").read_text())
    here.write("tokenizer_config.json", {**settings, "add_bos_token": True})
    made = json.loads((here.policy / "tokenizer.json").read_text())
    here.write("tokenizer.json", {**made, "post_processor": None})


def wrong(found: Findings) -> list[DoctorFinding]:
    listed = [found] if isinstance(found, DoctorFinding) else list(found)
    return [finding for finding in listed if finding.severity != "ok"]


@pytest.mark.parametrize("name", CASES)
def test_what_the_finding_says_to_do_works(name: str, here: Here) -> None:
    case = CASES[name]
    bad = wrong(case.bad(here))
    assert bad, "the case makes its finding"
    for remedy, look in case.mended.items():
        assert any(remedy in f"{f.what} {f.remedy}" for f in bad), [f.remedy for f in bad]
        left = [f for f in wrong(look(here)) if f.check in {f.check for f in bad}]
        assert left == []


@pytest.mark.parametrize(
    ("option", "changes"),
    [
        ("training.lora", {"training": {"lora": {"rank": 8}}}),
        ("training.gradient_checkpointing", {"training": {"gradient_checkpointing": True}}),
        ("training.micro_batch_tokens", {"training": {"micro_batch_tokens": 1024}}),
        ("sampling.keep_worker: step", {"sampling": {"keep_worker": "step"}}),
    ],
)
def test_each_option_that_saves_memory_does(option: str, changes: Any, here: Here) -> None:
    size, cpu = size_of(LLAMA_8B), Device(gpu=False, gib=24)
    assert size is not None
    before, now = (
        memory.estimate(LLAMA_8B, size, here.config(**given), cpu)
        for given in ({"training": {"micro_batch_tokens": 16384}}, changes)
    )
    assert option in memory.check_memory(before, cpu).remedy
    assert now.most_gib < before.most_gib


def test_a_port_that_is_taken_and_another_one() -> None:
    from typer.testing import CliRunner

    from flows.cli import app

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for command in servers.PORTS.values():
            [used] = servers.check_ports({port: command})
            assert (
                used.severity == "note"
                and f"give `{command}` a different one with --port" in used.remedy
            )
            [free] = servers.check_ports({0: command})
            assert free.severity == "ok"
            shown = CliRunner().invoke(
                app, [*command.split()[1:], "--help"], env={"COLUMNS": "200"}
            )
            assert "--port" in shown.output


def test_set_up_brings_the_versions_that_were_measured() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked = (ROOT / "constraints" / "cpu.txt").read_text().splitlines()
    for name, version in MEASURED.items():
        names = (name, f"{name}-cpu")
        assert any(line.split("+")[0] in [f"{n}=={version}" for n in names] for line in locked)
    gpu = [*project["dependencies"], *project["optional-dependencies"]["gpu"]]
    pinned = {r.split("==")[0]: r.split("==")[1] for r in gpu if "==" in r}
    assert pinned == {name: MEASURED[name] for name in ("prefect", "torch", "vllm")}


def test_before_a_run_all_problems_are_said_with_where_to_look(here: Here) -> None:
    here.remove("model.safetensors")
    config = here.config(sampling={"engine": "transformers"})
    with pytest.raises(BadInput, match="has no weights\n    Copy them there") as refused:
        check_before_run(config, here.folder / "new", with_prefect=False)
    assert "`ratchet doctor` with the same config" in refused.value.remedy


def test_every_finding_has_its_case(here: Here) -> None:
    said: list[DoctorFinding] = []
    for name, case in CASES.items():
        folder = here.folder / name.replace(" ", "-")
        folder.mkdir()
        fresh = replace(here, folder=folder)
        write_policy(fresh.policy)
        fresh.write_prompts(f"prompt {n}" for n in range(200))
        said += wrong(case.bad(fresh))
    sites = [*found(ROOT / "flows" / "doctor"), *raised(ROOT / "flows" / "doctor")]
    elsewhere = ("port ", "the campaign cannot run", "it is not an http address")  # tests above
    without = [
        f"{site.where}: {site.what}"
        for site in sites
        if not site.what.startswith(tuple(e.replace(" ", r"\ ") for e in elsewhere))
        and not any(site.says(f.what, f.remedy) for f in said)
    ]
    assert without == [], "add a case to CASES: what is found, and what its remedy says to do"
