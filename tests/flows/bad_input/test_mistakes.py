"""What newcomers get wrong, and docs/troubleshooting.md by its messages.

One fresh process makes every mistake, so that what it has imported and started in the end can be
seen. How long each took is printed; it is no test of speed.
"""

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from in_process import JUDGE, PROMPTS

from dpo_core.campaign.lock import locked
from tests.flows.doctor.doctor_folder import chat, write_policy

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "troubleshooting.md"

JUDGES = """
def short(completions):
    return [0.0]

def raises(completions):
    return [c.wrong for c in completions]
"""
RUN = ["run", "c.yaml"]


def put(*settings: str) -> list[str]:
    return [*RUN, *(word for setting in settings for word in ("--set", setting))]


MISTAKES: dict[str, tuple[list[str], str]] = {
    "path": (put("policy.model=models/of/mine"), "policy.model: no such folder: …"),
    "hub id": (put("policy.model=org/none"), "there is no folder …, and the hub …"),
    "key": (put("training.lr=1e-5"), "unknown key …; did you mean …?"),
    "JSON at line 7": (put("prompts.path=line7.jsonl"), "… is not JSON: …"),
    "no prompts": (put("prompts.path=promts.jsonl"), "prompts.path: no such file: …"),
    "judge of wrong length": (
        put("judge.function=my_judges:short"),
        "judge.function … was tried on made-up answers: the judge returned … answers for … items",
    ),
    "judge raises": (
        put("judge.function=my_judges:raises"),
        "judge.function … was tried on made-up answers: it raised …",
    ),
    "empty model folder": (put("policy.model=empty"), "… holds no model: config.json is missing"),
    "port": (
        ["ui", "campaign", "--port", "{port}"],
        "port … cannot be used: … by process …",
    ),
    "running twice": (
        [*RUN, "--campaign-dir", "running"],
        "… is being run by process … on …",
    ),
    "read-only": ([*RUN, "--campaign-dir", "/proc/none/c"], "… cannot be written to: …"),
    "wrong function": (put("judge.function=my_judges:shrt"), "judge.function: … has no …"),
    "wrong module": (
        put("judge.function=my_judge:short"),
        "judge.function: …: there is no module …",
    ),
    "chat without template": (
        put("prompts.path=chat.jsonl"),
        "prompts are chat messages, but the policy's tokenizer has no chat template",
    ),
    "small pool": (
        put("prompts.per_round=64"),
        "prompts.per_round … is more than the … train prompts of … in …",
    ),
    "two prompts": (
        put("prompts.path=two.jsonl"),
        "none of the … prompts falls into the … split",
    ),
    "large gate": (
        put("evaluation.gate_prompts=5000"),
        "evaluation.gate_prompts … is more than the … gate prompts of … in …",
    ),
    "context": (
        put("sampling.max_tokens=127"),
        "no prompt fits: sampling.max_tokens … leaves … tokens of the context of … for it",
    ),
    "beyond the context": (
        put("sampling.max_tokens=256"),
        "sampling.max_tokens … leaves no room for a prompt in the model's context of …",
    ),
    "negative rate": (
        put("training.learning_rate=-1e-5"),
        "training.learning_rate must be a finite number above 0, auto, or …",
    ),
    "huge rate": (
        put("training.learning_rate=5"),
        "training.learning_rate … would move each weight by about … per step",
    ),
    "unknown loss": (put("training.loss=ipoo"), "training.loss: … (found …; did you mean …?)"),
    "β as text": (
        put("training.beta=high"),
        "training.beta: … unable to parse string as a number (found …)",
    ),
}
"""Mistake → the command, and the heading of its message on the page."""

SCRIPT = """
import contextlib, io, json, os, sys, time
from flows import cli

def one(words):
    before = {os.path.join(*at) for at in walk()}
    out, error, code, began = io.StringIO(), io.StringIO(), None, time.monotonic()
    sys.argv = ["ratchet", *words]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
    left = sorted({os.path.join(*at) for at in walk()} ^ before)
    seconds = time.monotonic() - began
    return dict(code=code, out=out.getvalue(), error=error.getvalue(), left=left, seconds=seconds)

def walk():
    for where, folders, files in os.walk("."):
        yield from ((where, name) for name in folders + files if name != "__pycache__")

def started():
    return open(f"/proc/self/task/{os.getpid()}/children").read().split()

made = {name: {**one(words), "started": started()} for name, words in json.load(sys.stdin).items()}
heavy = {"torch", "transformers", "vllm", "prefect", "argilla", "ray"} & set(sys.modules)
print(json.dumps({"made": made, "heavy": sorted(heavy)}))
"""


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("mistakes")
    (folder / "my_judges.py").write_text(JUDGE + JUDGES)
    write_policy(folder / "model")
    write_tokenizer(folder / "model" / "tokenizer.json")
    (folder / "empty").mkdir()
    rows = PROMPTS.splitlines()
    files = {
        "prompts": rows,
        "two": rows[:2],
        "line7": [*rows[:6], '{"prompt": "What is', *rows[7:]],
        "chat": [json.dumps(chat(f"What is {n}?")) for n in range(60)],
    }
    for name, lines in files.items():
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    config = {
        "name": "mistakes",
        "policy": {"model": "model"},
        "prompts": {"path": "prompts.jsonl"},
        "sampling": {"max_tokens": 16},
        "judge": {"function": "my_judges:score"},
    }
    (folder / "c.yaml").write_text(yaml.safe_dump(config))
    (folder / "campaign").mkdir()
    (folder / "campaign" / "campaign.yaml").write_text(yaml.safe_dump(config))
    (folder / "running").mkdir()
    with locked(folder / "running" / "lock"), taken_port() as port:
        commands = {
            name: [word.format(port=port) for word in words]
            for name, (words, _) in MISTAKES.items()
        }
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            input=json.dumps(commands),
            cwd=folder,
            env={
                "HOME": str(folder),
                "PYTHONPATH": str(ROOT),
                "PYTHONDONTWRITEBYTECODE": "1",
                "HF_HUB_OFFLINE": "1",
            },
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def write_tokenizer(path: Path) -> None:
    """One token for each word."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "<eos>": 1}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens([AddedToken("<eos>")])
    tokenizer.save(str(path))


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_message_and_leaves_nothing(ended: dict[str, Any], mistake: str) -> None:
    made, heading = ended["made"][mistake], MISTAKES[mistake][1]
    print(f"{mistake}: {made['seconds']:.1f} s")
    assert made["code"] == 2, made
    assert re.search(pattern(heading), made["error"]), (heading, made["error"])
    assert made["error"].count("ratchet: ") == 1 and "Traceback" not in made["error"]
    assert made["out"] == "" and made["left"] == [] and made["started"] == []
    assert f"| `{heading}` |" in PAGE.read_text()


def test_nothing_heavy_is_loaded_before_a_mistake_is_found(ended: dict[str, Any]) -> None:
    assert ended["heavy"] == []


def pattern(heading: str) -> str:
    return ".+".join(map(re.escape, heading.split("…")))
