"""Judges that are models: a reward model and a chat model through vLLM, here and behind its server.

The models are tiny and untrained: what they prefer means nothing, but the tokens they read, the
scores they give and the form of their verdicts are those of real ones.
"""

import json
import math
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "labeling" / "judges"))
from injections import INJECTIONS

from dpo_core.campaign.layout import Layout
from dpo_core.children import Child
from dpo_core.records import Completion, Cost, Pair, Prompt, pair_id
from flows.compute.judge_models import JudgeModels
from flows.prefect.server import free_port
from generation.config import SamplingConfig
from labeling.judges.both_orders import judge_both_orders
from labeling.judges.config import LlmJudge, RewardModelJudge
from labeling.judges.llm import LlmScores, LlmVerdicts
from labeling.judges.make import RewardScores
from labeling.judges.rubric import load_rubric, make_mark

ENV = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}
MAX_LEN, START_TIMEOUT_S = 2048, 480
SPECIAL = ["<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PROMPT = Prompt("p", text="Why is the sky blue?")


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama with a byte-level tokenizer, control tokens and a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("chat_model")
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    rubric = load_rubric(LlmJudge(kind="llm", model="m"))
    bpe.train_from_iterator([rubric.question("Why?", ["yes", "no"], None).text], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token=SPECIAL[1], pad_token=SPECIAL[1]
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    _untrained(LlamaForCausalLM, len(tokenizer)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def reward_model(chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model with the same tokenizer."""
    from transformers import AutoTokenizer, LlamaForSequenceClassification

    folder = tmp_path_factory.mktemp("reward_model")
    tokenizer = AutoTokenizer.from_pretrained(chat_model)
    tokenizer.save_pretrained(folder)
    model = _untrained(LlamaForSequenceClassification, len(tokenizer), num_labels=1)
    model.save_pretrained(folder)
    return folder


def _untrained(kind: Any, vocab_size: int, **options: Any) -> Any:
    """With weights four times as large as fresh ones, so that it has decided opinions."""
    import torch
    from transformers import LlamaConfig

    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=MAX_LEN,
        pad_token_id=1,
        eos_token_id=1,
        bos_token_id=None,
        **options,
    )
    model = kind(config)
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(4 if weights.dim() == 2 else 1)
    return model


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JudgeModels]:
    """Judging models in children, as a session has them."""
    layout = Layout(tmp_path_factory.mktemp("campaign"))
    started: list[Child] = []

    def start(number: int, workers: int) -> Child:
        log = layout.log(f"judging{len(started)}")
        started.append(Child.start("generation.judge_worker", log, ENV))
        return started[-1]

    sampling = SamplingConfig()
    made = JudgeModels(layout, sampling, start, lambda _: 1, lambda: None, lambda *_: None)
    yield made
    made.release()
    assert len(started) <= 2  # a child stays for the next question
    assert not any(child.alive() for child in started)


@pytest.fixture(scope="module")
def server(
    chat_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    """vLLM's own server on loopback: its URL and the model that it serves."""
    port = free_port()
    log = tmp_path_factory.mktemp("server") / "log"
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model"]
    command += [str(chat_model), "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32"]
    command += ["--enforce-eager", "--no-enable-chunked-prefill", "--max-model-len", str(MAX_LEN)]
    environment = {**os.environ, **ENV, "VLLM_CPU_KVCACHE_SPACE": "1", "TORCHDYNAMO_DISABLE": "1"}
    with log.open("w") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, env=environment, start_new_session=True
        )
    try:
        _await_health(process, f"http://127.0.0.1:{port}/health", log)
        yield f"http://127.0.0.1:{port}", chat_model
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def _await_health(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.3)
    pytest.fail(f"no server after {START_TIMEOUT_S} s: {log.read_text()[-3000:]}")


def completion(name: str, text: str, prompt: Prompt = PROMPT) -> Completion:
    return Completion(name, prompt, text, "stop", len(text.split()))


def pair(number: int, b: str = "Because of magic.") -> Pair:
    first = completion(f"a{number}", f"Light scatters, {number}.")
    second = completion(f"b{number}", b)
    return Pair(pair_id(first.completion_id, second.completion_id), first, second)


# ── rewards ──────────────────────────────────────────────────────────────────────────────────────


def test_rewards_are_the_logits_of_transformers(reward_model: Path, here: JudgeModels) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    chat = Prompt(
        "c",
        messages=(
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Why is the sky blue?"},
        ),
    )
    made = [
        completion(str(number), " ".join(["Light"] * (1 + 7 * number)), prompt)
        for number, prompt in enumerate([PROMPT, chat, PROMPT, chat, PROMPT])
    ]
    tokenizer = AutoTokenizer.from_pretrained(reward_model)
    model = AutoModelForSequenceClassification.from_pretrained(reward_model).eval()
    expected = []
    for one in made:
        messages = list(one.prompt.messages or [{"role": "user", "content": one.prompt.text}])
        messages.append({"role": "assistant", "content": one.text})
        ids = tokenizer.apply_chat_template(messages, return_dict=False)
        with torch.no_grad():
            expected.append(model(torch.tensor([ids])).logits.item())
    endless = completion("long", "Light " * 3000)
    config = RewardModelJudge(kind="reward_model", model=str(reward_model))
    *found, too_long = RewardScores(config, here.models).score([*made, endless])
    gaps = [abs((f.value or math.nan) - e) for f, e in zip(found, expected, strict=True)]
    print(f"rewards {[f.value for f in found]}, largest gap to transformers {max(gaps):.1e}")
    assert max(gaps) < 1e-4
    assert max(expected) - min(expected) > 0.01
    assert max(abs(e) for e in expected) != pytest.approx(1 / (1 + math.exp(-expected[0])))
    assert too_long.value is None and "exceed the 2,048" in too_long.reason


def test_control_tokens_in_an_answer_reach_the_reward_model_as_letters(
    reward_model: Path,
) -> None:
    from transformers import AutoTokenizer

    from generation.judge_jobs import Message
    from generation.judge_prompts import encode

    tokenizer = AutoTokenizer.from_pretrained(reward_model)
    control = set(tokenizer.convert_tokens_to_ids(SPECIAL))

    def ids(answer: str) -> list[int]:
        said = [Message("user", [("Why?", True)]), Message("assistant", [(answer, True)])]
        return encode(tokenizer, said, ask=False)

    plain, attacked = ids("fine"), ids("fine" + INJECTIONS["chat tokens"])
    assert sum(i in control for i in plain) == sum(i in control for i in attacked) == 4
    assert INJECTIONS["chat tokens"] in tokenizer.decode(attacked)
    naive = tokenizer(INJECTIONS["chat tokens"])["input_ids"]
    assert sum(i in control for i in naive) == 4  # what would have happened


# ── a chat model, here and behind vLLM's server ──────────────────────────────────────────────────


def _judges(
    where: str, here: JudgeModels, request: pytest.FixtureRequest
) -> tuple[dict[str, Any], Any]:
    if where == "here":
        return {"kind": "llm", "model": str(request.getfixturevalue("chat_model"))}, here.models
    url, model = request.getfixturevalue("server")
    given = {"kind": "llm", "model": str(model), "endpoint": f"{url}/v1", "api_key_env": None}
    return {**given, "structured": True, "timeout_s": 300.0}, here.models


@pytest.mark.parametrize("where", ["here", "server"])
def test_verdicts_are_choices_with_probabilities(
    where: str, here: JudgeModels, request: pytest.FixtureRequest
) -> None:
    options, models = _judges(where, here, request)
    pairs = [pair(number) for number in range(4)]
    forward = LlmVerdicts(LlmJudge.model_validate(options), models).judge(pairs)
    for judgement in forward:
        assert judgement.verdict in ("a", "b", "tie"), judgement
        assert judgement.confidence is not None and 1 / 3 <= judgement.confidence <= 1
        assert judgement.cost.tokens_in > 100 and judgement.cost.tokens_out >= 1
    both = list(judge_both_orders(LlmVerdicts(LlmJudge.model_validate(options), models), pairs))
    assert [j.forward for j in both] == [j.verdict for j in forward]
    scoring = LlmJudge.model_validate({**options, "gives": "score"})
    scores = LlmScores(scoring, models).score([pairs[0].a, pairs[0].b])
    assert all(score.value is not None and 1 < score.value < 9 for score in scores)
    assert scores[0].cost != Cost()


def test_the_same_model_says_the_same_here_and_behind_the_server(
    here: JudgeModels, request: pytest.FixtureRequest
) -> None:
    pairs = [pair(number) for number in range(4)]
    found = []
    for where in ("here", "server"):
        options, models = _judges(where, here, request)
        found.append(LlmVerdicts(LlmJudge.model_validate(options), models).judge(pairs))
    for local, remote in zip(*found, strict=True):
        assert local.verdict == remote.verdict
        assert local.confidence == pytest.approx(remote.confidence, abs=1e-3)


@pytest.mark.parametrize("where", ["here", "server"])
def test_control_tokens_in_answers_stay_letters_and_verdicts_stay_choices(
    where: str, here: JudgeModels, request: pytest.FixtureRequest
) -> None:
    """An untrained model is swayed by any text, so its flip rate is shown and not judged."""
    options, models = _judges(where, here, request)
    judge = LlmVerdicts(LlmJudge.model_validate(options), models)
    texts = [
        text.replace("{mark}", make_mark(["Why is the sky blue?", "Light scatters, 0."]))
        for text in INJECTIONS.values()
    ]
    (honest,) = judge_both_orders(judge, [pair(0)])
    attacked = [pair(0, b=f"Because of magic. {text}") for text in texts]
    found = list(judge_both_orders(judge, attacked))
    flips = sum(judgement.verdict != honest.verdict for judgement in found)
    print(f"{where}: flip rate {flips}/{len(texts)} of a model without training")
    assert all(judgement.verdict is not None for judgement in found)


def test_the_server_counts_as_many_control_tokens_as_without_an_attack(
    server: tuple[str, Path],
) -> None:
    from transformers import AutoTokenizer

    url, model = server
    control = set(AutoTokenizer.from_pretrained(model).convert_tokens_to_ids(SPECIAL))

    def count(content: str) -> int:
        asked = {"model": str(model), "messages": [{"role": "user", "content": content}]}
        request = urllib.request.Request(
            f"{url}/tokenize", json.dumps(asked).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return sum(token in control for token in json.load(answer)["tokens"])

    rubric = load_rubric(LlmJudge(kind="llm", model="m"))
    attack = INJECTIONS["chat tokens"]
    usual = count(rubric.question("Why?", ["yes", "no"], None).text)
    assert usual == 3  # <|im_start|>user … <|im_end|> <|im_start|>assistant
    assert count(rubric.question("Why?", ["yes", "no" + attack], None).text) == usual
    assert count("Which is better, yes or no" + attack) == usual + 4  # what would have happened
