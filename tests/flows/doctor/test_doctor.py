"""Every check of the doctor finds the problem that was planted for it, and only where it is."""

import json
import math
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from dpo_core import processor
from dpo_core.errors import BadInput
from dpo_core.model_shape import Shape, read_shape
from flows.config import CampaignConfig
from flows.doctor import inputs as judges
from flows.doctor import machine, memory, policy, prompts, servers
from flows.doctor import machine as disk
from flows.doctor.examine import check_before_run
from flows.doctor.findings import DoctorFinding
from flows.doctor.memory import Device, size_of
from flows.run import run_campaign
from generation.config import PromptsConfig
from generation.probe import probe_machine, probe_tokens
from generation.probe_jobs import Machine, ProbeTokens, TokenCounts
from tests import tiny_gguf, typed
from tests.flows.doctor.doctor_folder import (
    ENVIRONMENT,
    LLAMA_8B,
    WORDS,
    answering,
    chat,
    write_config,
    write_policy,
    write_prompts,
)
from tests.tiny_gguf import write_tiny_gguf

GIB = 2**30


@pytest.fixture(autouse=True)
def _nothing_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def a_config(tmp_path: Path, **changes: Any) -> CampaignConfig:
    write_policy(tmp_path / "policy")
    if not (tmp_path / "prompts.jsonl").exists():
        write_prompts(tmp_path, [f"prompt {n}" for n in range(200)])
    return write_config(tmp_path, **changes)


def severities(findings: Iterator[DoctorFinding] | list[DoctorFinding]) -> list[str]:
    return [finding.severity for finding in findings]


# ── the machine ──────────────────────────────────────────────────────────────────────────────────


def test_python_that_is_too_old_or_untested() -> None:
    found = [machine.check_python(running) for running in ((3, 10), (3, 11), (3, 13))]
    assert severities(found) == ["problem", "ok", "note"]


def test_packages_missing_or_of_another_version(tmp_path: Path) -> None:
    config = a_config(tmp_path)
    versions = {**machine.MEASURED, "torch": None, "vllm": "0.9.0"}
    found = list(machine.check_packages(versions, config))
    assert [(f.where, f.severity) for f in found if f.severity != "ok"] == [
        ("torch", "problem"),
        ("vllm", "note"),
    ]
    absent = {**machine.MEASURED, "vllm": None}
    needless = a_config(tmp_path, sampling={"engine": "transformers"})
    assert "problem" in severities(machine.check_packages(absent, config))
    assert "problem" not in severities(machine.check_packages(absent, needless))


@pytest.mark.parametrize(
    ("seen", "severity", "words"),
    [
        (Machine("2.13.0+cpu"), "ok", "no GPU"),
        (Machine("2.13.0", "12.8", 1, (("H100", 80.0),), "13.0"), "ok", "CUDA 12.8, 1 of H100"),
        (Machine("2.13.0+cpu", None, 0, (("H100", 80.0),), "13.0"), "note", "is not used"),
        (Machine("2.13.0", "13.0", 0, (("H100", 80.0),), "12.2"), "problem", "supports CUDA 12.2"),
        (Machine("2.13.0", "12.8"), "note", "there is no GPU"),
        (Machine(None, error="ImportError: libcudart"), "problem", "libcudart"),
    ],
)
def test_torch_and_driver(seen: Machine, severity: str, words: str) -> None:
    [found] = machine.check_devices(seen, None)
    assert found.severity == severity and words in found.what
    assert found.remedy or severity == "ok"


def test_more_gpus_wanted_than_there_are(tmp_path: Path) -> None:
    config = a_config(tmp_path, training={"processes": 4})
    one = Machine("2.13.0", "12.8", 1, (("H100", 80.0),), "13.0")
    assert severities(machine.check_devices(one, config)) == ["ok", "problem"]


def test_what_nvidia_smi_says_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "nvidia-smi"
    script.write_text(
        "#!/bin/sh\nif [ $# -gt 0 ]; then echo 'NVIDIA H100, 80, 81920'; "
        "else echo '| NVIDIA-SMI 560.1  CUDA Version: 12.6 |'; fi\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = probe_machine()
    assert (found.gpus, found.driver_cuda) == ((("NVIDIA H100, 80", 80.0),), "12.6")
    assert found.torch is not None


def test_a_port_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        found = list(servers.check_ports({taken.getsockname()[1]: "ratchet ui", 0: "any"}))
    assert severities(found) == ["note", "ok"] and "--port" in found[0].remedy


# ── servers ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def answers() -> Iterator[tuple[str, dict[str, Any]]]:
    """A server on the loopback address: path → JSON, or a status."""
    replies: dict[str, Any] = {}
    with answering(replies) as url:
        yield url, replies


def test_prefect_unnamed_silent_and_of_another_version(answers: tuple[str, dict[str, Any]]) -> None:
    url, replies = answers
    replies["/api/admin/version"] = "3.7.9"

    def check(url: str, client: str = "3.7.7") -> DoctorFinding:
        return servers.check_prefect(client, {"PREFECT_API_URL": url}, 2.0)

    assert servers.check_prefect("3.7.7", {}).severity == "ok"
    assert check(f"{url}/api").severity == "ok"
    assert check(f"{url}/api", "3.6.1").severity == "note"
    silent = check("http://127.0.0.1:9/api")
    assert silent.severity == "problem" and "--no-prefect" in silent.remedy
    assert check("postgres://somewhere").severity == "problem"
    # By the headers of Prefect's own client; base64 of admin:pass, as in RFC 7617.
    assert servers.prefect_key({"PREFECT_API_KEY": "pnu_1"}) == {"Authorization": "Bearer pnu_1"}
    login = servers.prefect_key({"PREFECT_API_AUTH_STRING": "admin:pass"})
    assert login == {"Authorization": "Basic YWRtaW46cGFzcw=="}


def test_argilla_where_people_are_asked(
    tmp_path: Path, answers: tuple[str, dict[str, Any]]
) -> None:
    url, replies = answers
    alone = a_config(tmp_path)
    asking = a_config(
        tmp_path,
        judge={"kind": "human"},
        evaluation_judge={"function": "examples.reviews.judge:score"},
        pairs={"strategy": "random"},
    )
    named = {"ARGILLA_API_URL": url, "ARGILLA_API_KEY": "key"}
    assert servers.check_argilla(alone, {}).severity == "ok"
    nowhere = servers.check_argilla(asking, {})
    assert nowhere.severity == "problem" and "ratchet label serve" in nowhere.remedy
    replies |= {"/api/v1/version": {"version": "2.8.0"}, "/api/v1/me": {}}
    assert servers.check_argilla(asking, named).severity == "ok"
    replies["/api/v1/version"] = {"version": "2.6.0"}
    assert servers.check_argilla(asking, named).severity == "note"
    replies["/api/v1/me"] = 401
    refused = servers.check_argilla(asking, named)
    assert refused.severity == "problem" and "key" in refused.remedy
    assert servers.check_argilla(alone, named).severity == "note"


# ── memory and disk ──────────────────────────────────────────────────────────────────────────────


def test_shape_comes_from_the_files(tmp_path: Path) -> None:
    found = read_shape(write_policy(tmp_path / "policy"))
    assert found == Shape(10 * 8 + 6, 1, 8, 16, 10, 2, 4, 128)
    (tmp_path / "policy" / "model.safetensors").unlink()
    assert read_shape(tmp_path / "policy") == Shape(None, 1, 8, 16, 10, 2, 4, 128)
    assert read_shape(tmp_path) is None


def test_memory_is_estimated_in_its_parts(tmp_path: Path) -> None:
    config = a_config(tmp_path, sampling={"max_model_len": 2048, "max_tokens": 1024})
    size = size_of(LLAMA_8B)
    assert size is not None
    one = Device(gpu=True, gib=80.0)
    found = memory.estimate(LLAMA_8B, size, config, one)
    parts = {part.name: part.gib for part in (*found.training, *found.sampling)}
    weights = 4 * 8_030_261_248 / GIB
    assert parts["weights, float32"] == pytest.approx(weights)
    assert parts["gradients"] == pytest.approx(weights)
    assert parts["AdamW's state"] == pytest.approx(2 * weights)
    # A pair of 2,048 + 1,024 tokens; 16 hidden and 4 inner widths in each of 32 layers, 2 bytes.
    kept = 3072 * 32 * 2 * (16 * 4096 + 4 * 14336) / GIB
    assert parts["activations of 3,072 tokens"] == pytest.approx(kept)
    # Keys and values of 32 layers, 8 heads, 128 wide, 2 bytes each.
    cache = 2048 * 2 * 32 * 8 * 128 * 2 / GIB
    assert parts["key-value cache of one sequence, 2,048 tokens"] == pytest.approx(cache)
    assert found.most_gib == pytest.approx(found.training_gib) and not found.together
    told = memory.check_memory(found, one)
    assert told.severity == "problem" and "AdamW's state" in told.what
    eight = Device(gpu=True, gib=80.0, count=8)
    shared = memory.estimate(LLAMA_8B, size, config, eight)
    assert memory.check_memory(shared, eight).severity == "ok"
    cpu = memory.estimate(LLAMA_8B, size, config, Device(gpu=False, gib=200.0))
    assert cpu.together and cpu.most_gib == pytest.approx(cpu.training_gib + cpu.sampling_gib)


def test_adapters_take_less_and_checkpointing_too(tmp_path: Path) -> None:
    size, device = size_of(LLAMA_8B), Device(gpu=True, gib=80.0)
    assert size is not None

    def training_gib(**training: Any) -> float:
        config = a_config(tmp_path, training=training)
        return memory.estimate(LLAMA_8B, size, config, device).training_gib

    whole = training_gib()
    assert training_gib(lora={"rank": 16}) < whole / 4
    assert training_gib(gradient_checkpointing=True) < whole


def test_memory_that_is_tight() -> None:
    estimate = memory.MemoryEstimate(
        (memory.MemoryPart("all", 9.0),), (memory.MemoryPart("all", 1.0),), True
    )
    found = [memory.check_memory(estimate, Device(False, gib)) for gib in (9.9, 10.1, 13.0)]
    assert severities(found) == ["problem", "note", "ok"]
    assert processor.free_ram_gib() > 0.1


def test_disk_that_is_full(tmp_path: Path) -> None:
    small = a_config(tmp_path)
    assert (
        disk.check_disk(small, tmp_path / "new", read_shape(tmp_path / "policy")).severity == "ok"
    )
    # 10^12 answers of 16 tokens are petabytes.
    huge = a_config(tmp_path, prompts={"path": "prompts.jsonl", "per_round": 10**12})
    found = disk.check_disk(huge, tmp_path / "new", None)
    assert (
        found.severity == "problem" and "weights" in found.what and "--campaign-dir" in found.remedy
    )


def test_kept_policies_decide_what_a_campaign_takes(tmp_path: Path) -> None:
    free_gib = disk.weights_gib(LLAMA_8B)
    assert free_gib == pytest.approx(4 * 8_030_261_248 / GIB)
    for keep, policies in (("all", 20), ("promoted", 2), ({"last": 3}, 4)):
        assert disk.policies_kept(a_config(tmp_path, rounds=20, keep_policies=keep)) == policies


# ── the policy ───────────────────────────────────────────────────────────────────────────────────


def test_policy_without_files_or_end(tmp_path: Path) -> None:
    folder = write_policy(tmp_path / "policy")
    assert severities(policy.check_files(folder)) == ["ok"]
    (folder / "generation_config.json").unlink()
    assert severities(policy.check_files(folder)) == ["note"]
    (folder / "tokenizer_config.json").write_text("{}")
    [endless] = policy.check_files(folder)
    assert endless.severity == "problem" and "sampling.max_tokens" in endless.what
    (folder / "model.safetensors").unlink()
    (folder / "tokenizer_config.json").unlink()
    (folder / "tokenizer.json").unlink()
    assert severities(policy.check_files(folder)) == ["problem", "problem"]
    assert severities(policy.check_files(tmp_path)) == ["problem"]


def test_a_gguf_file_is_looked_at_before_anything_is_written(tmp_path: Path) -> None:
    file = write_tiny_gguf(tmp_path / "tiny.gguf")
    config = a_config(tmp_path, policy={"model": str(file)}, sampling={"max_model_len": 999})
    assert policy.local_policy(config) == file
    assert severities(policy.check_files(file)) == ["ok"]
    shape = read_shape(file)
    assert shape == Shape(tiny_gguf.PARAMETERS, 2, 64, 128, tiny_gguf.VOCABULARY, 1, 32, 256)
    assert [policy.check_template(file, chat=chat).severity for chat in (True, False)] == [
        "ok",
        "note",
    ]
    assert policy.check_length(file, config).severity == "problem"
    with pytest.raises(BadInput, match="max_model_len 999 exceeds the model's context of 256"):
        check_before_run(config, tmp_path / "new", with_prefect=False)
    bare = write_tiny_gguf(tmp_path / "bare.gguf", without=["tokenizer.chat_template"])
    assert policy.check_template(bare, chat=True).severity == "problem"
    file.write_bytes(file.read_bytes()[:-600])
    with pytest.raises(BadInput, match=r"tiny\.gguf is incomplete: it has .* bytes\n    Download"):
        check_before_run(config, tmp_path / "new", with_prefect=False)
    assert read_shape(tmp_path / "nowhere.gguf") is None
    assert not (tmp_path / "new").exists()


def test_chat_prompts_need_a_template(tmp_path: Path) -> None:
    folder = write_policy(tmp_path / "policy")
    without = [policy.check_template(folder, chat=chat).severity for chat in (True, False)]
    assert without == ["problem", "ok"]
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    having = [policy.check_template(folder, chat=chat).severity for chat in (True, False)]
    assert having == ["ok", "note"]


def test_more_positions_wanted_than_the_model_has(tmp_path: Path) -> None:
    config = a_config(tmp_path, sampling={"max_tokens": 16, "max_model_len": 4096})
    found = policy.check_length(tmp_path / "policy", config)
    assert found.severity == "problem" and "128" in found.what


# ── prompts and judges ───────────────────────────────────────────────────────────────────────────


def test_prompts_that_overlap_or_are_too_few(tmp_path: Path) -> None:
    plain = a_config(tmp_path)
    pool = prompts.read(plain)
    assert severities([*prompts.check_pool(pool, plain), prompts.check_overlap(pool, plain)]) == [
        "ok",
        "ok",
    ]
    # All 200 share a run of seventeen words, so each held-out prompt shares it with a train prompt.
    write_prompts(tmp_path, [f"{WORDS} {n}" for n in range(200)])
    found = prompts.check_overlap(prompts.read(plain), plain)
    assert found.severity == "note" and "alpha beta" in found.what
    write_prompts(tmp_path, ["one", "two"])
    few = list(prompts.check_pool(prompts.read(plain), plain))
    assert "problem" in severities(few)
    many = a_config(tmp_path, rounds=50)
    write_prompts(tmp_path, [f"prompt {n}" for n in range(200)])
    assert severities(prompts.check_pool(prompts.read(many), many)) == ["note"]


def test_gate_prompts_that_do_not_last_for_a_certified_campaign(tmp_path: Path) -> None:
    few = a_config(tmp_path, gate={"false_promotions": 0.05})
    gate = prompts.read(few).splits["gate"]
    assert gate < few.rounds * few.evaluation.gate_prompts
    [_, found] = prompts.check_pool(prompts.read(few), few)
    assert found.severity == "note"
    lasting = gate // few.evaluation.gate_prompts
    assert f"{gate} gate prompts last for {lasting} certified promotions" in found.what
    enough = {"gate_prompts": gate // few.rounds}
    enough_config = a_config(tmp_path, gate={"false_promotions": 0.05}, evaluation=enough)
    assert severities(prompts.check_pool(prompts.read(enough_config), enough_config)) == ["ok"]


def test_prompts_that_are_too_long_or_begin_twice(tmp_path: Path) -> None:
    def counts(longest: int = 60, too_long: int = 3, **bos: int) -> TokenCounts:
        return TokenCounts(prompts=10, longest=longest, too_long=too_long, **bos)

    room = prompts.PromptRoom(64, 16)
    assert prompts.check_lengths(counts(), room).severity == "note"
    assert prompts.check_lengths(counts(too_long=10), room).severity == "problem"
    assert prompts.check_lengths(counts(too_long=0), room).severity == "ok"
    model = prompts.PromptRoom(128, 256, positions=128)
    nothing = prompts.check_lengths(counts(longest=6, too_long=10), model)
    assert nothing.what == "no prompt fits: max_tokens 256 exceeds the model's context of 128"
    assert nothing.remedy == (
        "Set sampling.max_model_len: 128 and sampling.max_tokens to at most 122."
    )
    assert severities(prompts.check_bos(counts())) == ["ok"]
    [twice] = prompts.check_bos(counts(bos_doubled=2))
    [lacking] = prompts.check_bos(counts(bos_missing=2))
    assert (twice.severity, lacking.severity) == ("problem", "problem")
    assert "have one BOS token too many" in twice.what and "lack the BOS" in lacking.what


def test_tokens_are_counted_as_they_are_sampled_from(tmp_path: Path) -> None:
    """The template writes a BOS of its own where the prompt's text has one already."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(WordLevel({"<unk>": 0, "<s>": 1, "why": 2}, unk_token="<unk>"))
    words.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", bos_token="<s>")
    tokenizer.chat_template = (
        "{{ bos_token }} {% for m in messages %}{{ m['content'] }}{% endfor %}"
    )
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    texts = ["why", "why why why", "<s> why"]
    write_prompts(tmp_path, map(chat, texts))
    asked = PromptsConfig(path=str(tmp_path / "prompts.jsonl"))
    job = ProbeTokens(folder=tmp_path / "tokenizer", revision=None, prompts=asked, room=3)
    found = probe_tokens(job)
    # <s> why; <s> why why why; <s> <s> why
    counted = TokenCounts(prompts=3, longest=4, too_long=1, bos_missing=0, bos_doubled=1)
    assert found == counted


def test_one_judge_for_both_and_user_code_that_is_not_there(tmp_path: Path) -> None:
    same = a_config(tmp_path)
    apart = a_config(tmp_path, evaluation_judge={"function": "math:prod"})
    assert [judges.check_same_judge(c).severity for c in (same, apart)] == ["note", "ok"]
    assert severities(judges.check_user_code(same)) == ["ok"]
    missing = a_config(tmp_path, judge={"function": "math:fsun"}, sft={"function": "nowhere:rows"})
    found = list(judges.check_user_code(missing))
    assert severities(found) == ["problem", "problem"]
    assert "fsum" in found[0].remedy and found[1].where == "sft.function"
    assert callable(math.fsum)


# ── before a run ─────────────────────────────────────────────────────────────────────────────────


def test_a_run_that_would_not_work_ends_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_prompts(tmp_path, (chat(f"{n}?") for n in range(200)))
    config = a_config(tmp_path)
    (tmp_path / "policy" / "generation_config.json").unlink()
    (tmp_path / "policy" / "tokenizer_config.json").write_text("{}")
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    root = tmp_path / "campaign"
    with (
        (tmp_path / "out").open("w") as out,
        pytest.raises(BadInput) as refused,
    ):
        run_campaign(config, root, Console(file=out))
    assert refused.value.exit_code == 2 and not root.exists()
    said = refused.value.message
    assert "no chat template" in said and "would be truncated" in said and "does not answer" in said
    assert "--no-prefect" in said


def test_what_is_checked_before_a_run_is_quick_and_light(tmp_path: Path) -> None:
    a_config(tmp_path)
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom flows.config import load_config\n"
        "from flows.doctor.examine import check_before_run\n"
        "config = load_config(Path('config.yaml'))\nbegan = time.process_time()\n"
        "check_before_run(config, Path('campaign'), with_prefect=True)\n"
        "print(time.process_time() - began, *({'torch', 'vllm', 'prefect'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    seconds, *heavy = done.stdout.split()
    assert float(seconds) < 0.5 and heavy == []


def test_a_campaign_that_has_begun_needs_its_policys_files_no_more(tmp_path: Path) -> None:
    config = a_config(tmp_path)
    (tmp_path / "policy" / "tokenizer.json").unlink()
    (tmp_path / "policy" / "tokenizer_config.json").unlink()
    with pytest.raises(BadInput, match="has no tokenizer"):
        check_before_run(config, tmp_path / "campaign", with_prefect=False)
    (tmp_path / "campaign/rounds/00/base-12345678").mkdir(parents=True)
    check_before_run(config, tmp_path / "campaign", with_prefect=False)


# ── the command ──────────────────────────────────────────────────────────────────────────────────


def ratchet(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return typed.ratchet(("doctor", *arguments), Path.cwd(), os.environ)


@pytest.mark.slow
def test_the_command_examines_a_built_policy_and_says_what_is_wrong() -> None:
    began = time.monotonic()
    words = ["--set", "policy={build: 'examples.reviews.model:build', build_args: {layers: 1}}"]
    sets = {
        "name": "built",
        "policy": {"build": "examples.reviews.model:build", "build_args": {"layers": 1}},
        "prompts": {"function": "examples.reviews.grammar:prompts", "per_round": 8},
        "sampling": {"engine": "transformers", "max_tokens": 40, "max_model_len": 46},
        "judge": {"function": "examples.reviews.judge:score"},
        "evaluation": {"gate_prompts": 8, "test_prompts": 8},
    }
    Path("built.yaml").write_text(yaml.safe_dump(sets))
    done = ratchet("built.yaml", "--json", *words)
    told = json.loads(done.stdout)
    assert done.returncode == 0 and told["would_run"] and told["version"] == 1, done.stdout
    by_check = {finding["check"]: finding for finding in told["findings"]}
    assert by_check["prompt lengths"]["severity"] == "note"  # of 6 tokens, the longest have 7
    assert by_check["overlap"]["severity"] == by_check["eos"]["severity"] == "ok"
    assert by_check["judges"]["severity"] == "note" and by_check["memory"]["severity"] == "ok"
    names = {part["name"] for part in told["memory_gib"]["training"]}
    assert {"weights, float32", "gradients", "AdamW's state", "logits", "libraries"} <= names
    assert not Path("campaigns").exists() and time.monotonic() - began < 300
    broken = ratchet("built.yaml", "--set", "judge.function=nowhere:score")
    assert broken.returncode == 2 and "there is no module nowhere" in broken.stdout
    assert "1 problem: `ratchet run` would not work" in broken.stdout
