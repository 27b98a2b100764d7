"""A config that cannot be carried out is refused with one message, and nothing is written."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dpo_core.errors import ConfigError
from flows import cli
from flows.config import check_functions, validate
from flows.steps.train import loss_functions

JUDGE = "def score(completions):\n    return [0.0 for _ in completions]\n"


@pytest.fixture
def good(tmp_path: Path, rule: Callable[[str], str]) -> dict[str, Any]:
    """A config with which a campaign would start."""
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "why?"}\n')
    return {
        "name": "refused",
        "policy": {"build": "examples.reviews.model:build"},
        "prompts": {"path": str(tmp_path / "prompts.jsonl")},
        "judge": {"function": rule(JUDGE)},
    }


Refused = Callable[..., str]


@pytest.fixture
def refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Refused:
    """refused(config, *arguments) -> the message of `ratchet run`, which left no trace on disk."""

    def run(config: dict[str, Any] | str, *arguments: str) -> str:
        text = config if isinstance(config, str) else yaml.safe_dump(config)
        path, folder = tmp_path / "c.yaml", tmp_path / "campaign"
        path.write_text(text, encoding="utf-8")
        before = sorted(tmp_path.rglob("*"))
        monkeypatch.setattr(
            sys, "argv", ["ratchet", "run", str(path), "--campaign-dir", str(folder), *arguments]
        )
        with pytest.raises(SystemExit) as caught:
            cli.main()
        assert caught.value.code == 2
        after = [p for p in sorted(tmp_path.rglob("*")) if "__pycache__" not in p.parts]
        assert after == [p for p in before if "__pycache__" not in p.parts]
        assert not folder.exists()
        out, message = capsys.readouterr()
        assert out == ""
        assert message.startswith("ratchet: ") and "Traceback" not in message
        return message

    return run


def changed(config: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    section, _, last = key.rpartition(".")
    copy = {name: dict(v) if isinstance(v, dict) else v for name, v in config.items()}
    (copy.setdefault(section, {}) if section else copy)[last] = value
    return copy


def _retry(changes: dict[str, Any], **others: Any) -> dict[str, Any]:
    return {"otherwise": "retry", "retry": {"changes": [changes], **others}}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        # unknown keys, with the nearest known one
        ("training.betta", 1, "unknown key training.betta; did you mean beta?"),
        ("round", 3, "unknown key round; did you mean rounds?"),
        ("sft.step", 3, "unknown key sft.step; did you mean steps?"),
        ("qqq", 1, "unknown key qqq"),
        # wrong types and values
        ("rounds", "many", "rounds: Input should be a valid integer"),
        ("rounds", 0, "rounds: Input should be greater than or equal to 1 (found 0)"),
        ("seed", -1, "seed: Input should be greater than or equal to 0 (found -1)"),
        ("training", 5, "training: Input should be"),
        ("training.beta", "strong", "training.beta: Input should be a valid number"),
        ("training.beta", 0, "training.beta: Input should be greater than 0"),
        ("training.beta", float("nan"), "training.beta: Input should be a finite number"),
        (
            "training.learning_rate",
            float("inf"),
            "must be a finite number above 0, auto, or",
        ),
        ("training.learning_rate", "half", "such as 0.5x (found 'half')"),
        ("training.learning_rate", "0x", "must be a finite number above 0"),
        ("training.pairs_per_step", 2.5, "must be a whole number of at least 1, auto, or a multi"),
        (
            "training",
            {"warmup_steps": 3, "warmup_share": 0.1},
            "training.warmup_steps 3 and training.warmup_share 0.1 both set the warm-up",
        ),
        (
            "training.label_smoothing",
            0.5,
            "training.label_smoothing: Input should be less than 0.5",
        ),
        ("training.loss", "exo_pair", "loss exo_pair takes the logarithms of label_smoothing"),
        ("training.loss", "dpo", "training.loss: Input should be 'sigmoid', 'sigmoid_norm'"),
        ("training.reference", "initial", "training.reference must be reset, base, none, {ema: r"),
        ("training.reference", {"ema": 0}, "{every: k} with k ≥ 1 (found {'ema': 0})"),
        ("training.reference", {"ema": 1.5}, "{ema: rate} with 0 < rate ≤ 1"),
        ("training.reference", {"every": 0}, "training.reference must be"),
        ("training.reference", {"every": 2, "ema": 0.5}, "training.reference must be"),
        ("training.reference", "none", "reference is none, but loss sigmoid needs a refer"),
        ("training", {"reference": "base", "loss": "simpo"}, "loss simpo uses no reference"),
        (
            "training",
            {"reference": {"every": 2}, "reference_logps": "from_sampling"},
            "from_sampling needs training.reference: reset, because the sampler returns the "
            "log-probs of the policy that sampled. Reference every: 2 cannot use them",
        ),
        (
            "training",
            {"loss": "orpo", "reference_logps": "from_sampling"},
            "Loss orpo cannot use them",
        ),
        (
            "training",
            {"ld_alpha": 0.5, "reference_logps": "from_sampling"},
            "training.ld_alpha weights tokens",
        ),
        (
            "training",
            {"loss": "aot", "wpo": True},
            "training.wpo weights pairs, but training.loss aot sorts log-probs",
        ),
        (
            "training",
            {"loss": "sft", "ld_alpha": 0.5},
            "but training.loss sft has no pair to shorten: remove training.ld_alpha",
        ),
        (
            "training",
            {"loss": "ipo", "ld_alpha": 0.5},
            "but training.loss ipo takes them per token: remove training.ld_alpha",
        ),
        (
            "gate",
            _retry({"training.loss": "aot_unpaired", "training.wpo": True}),
            "gate.retry.changes[0]: training.wpo weights pairs",
        ),
        ("sampling.engine", "vlm", "sampling.engine: Input should be 'vllm' or 'transformers'"),
        ("sampling.top_p", 0, "sampling.top_p: Input should be greater than 0"),
        ("keep_policies", "last", "keep_policies must be all, promoted, or last: k"),
        ("keep_policies", {"last": 0}, "with a k of at least 1 (found {'last': 0})"),
        ("keep_policies", {"lats": 2}, "keep_policies must be all, promoted, or last: k"),
        ("name", "a/b", "name: String should match pattern"),
        ("judge", {}, "judge.function: Field required"),
        ("policy", None, "policy: Input should be"),
        # combinations that cannot be
        ("policy.model", "some/model", "policy: set exactly one of model and build (both"),
        ("policy", {}, "policy: set exactly one of model and build (neither"),
        ("policy.revision", "main", "policy.revision has no effect without policy.model"),
        (
            "prompts.function",
            "m:f",
            "prompts: set exactly one of path, dataset and function (path and",
        ),
        ("sft", {"steps": 3}, "sft: set exactly one of path and function (neither"),
        ("prompts.gate_share", 0.9, "leave no training prompts"),
        ("judge.gives", "verdict", "pairs.strategy best_worst needs scores"),
        ("sampling.samples_per_prompt", 1, "samples_per_prompt must be at least 2"),
        ("sampling.max_model_len", 256, "leaves no room for a prompt"),
        ("sampling", {"engine": "transformers", "tensor_parallel_size": 2}, "needs engine vllm"),
        ("pairs", {"strategy": "random", "min_margin": 0.1}, "pairs.min_margin is a difference"),
        ("data.rounds", {"mix": {"imported": 0.5}}, "but data.imported is not set: remove it, or"),
        ("budget.human_labels", 50, "judge asks no people: remove it, or make judge a"),
        # the gate
        ("promote", {"use": "lower"}, "promote is now called gate, with the same keys: rename it"),
        ("gate.use", "upper", "gate.use: Input should be 'lower' or 'estimate' (found 'upper')"),
        ("gate.otherwise", "retry", "gate.otherwise retry needs the changes to try: list them"),
        ("gate.retry", {"changes": [{"seed": 1}]}, "gate.retry has no effect with gate.otherwise"),
        (
            "gate",
            {"false_promotions": 0.05, "use": "estimate"},
            "gate.use estimate conflicts with gate.false_promotions 0.05",
        ),
        ("gate.false_promotions", 0, "gate.false_promotions: Input should be greater than 0"),
        ("gate.when_used_up", "gate_set", "has no effect without gate.false_promotions"),
        (
            "gate.at_most_prompts",
            512,
            "at_most_prompts 512 has no effect without gate.false_promotions",
        ),
        ("gate", _retry({"training.betta": 2}), "unknown key training.betta; did you mean beta?"),
        ("gate", _retry({"training.beta": -1}), "changes[0]: training.beta: Input should"),
        ("gate", _retry({"evaluation.gate_prompts": 9}), "cannot differ between attempts"),
        ("gate", _retry({"training.beta": 0.1}), "changes[0] changes nothing: the config already"),
        ("gate", _retry({"training.loss": "2x"}), "needs a number to multiply, but the config has"),
        ("gate", _retry({}), "gate.retry.changes: each attempt must change at least one key"),
        (
            "gate",
            _retry({"training.beta": 2}, attempts=2),
            "attempts 2 exceeds the 1 of",
        ),
        ("stop.plateau", {"round": 2}, "unknown key stop.plateau.round; did you mean rounds?"),
        ("stop.money", 9, "stop.money 9 is never reached, because nothing has a price: set"),
        ("stop.hours", 0, "stop.hours: Input should be greater than 0"),
        # files and folders
        ("prompts.path", "/no/prompts.jsonl", "prompts.path: no such file: /no/prompts.jsonl"),
        ("prompts.path", "/bin", "prompts.path: the folder /bin holds no .jsonl"),
        ("notify.webhook", "https://x.org/s3cret", "name an environment variable that holds"),
        ("retries.train", -1, "retries.train: Input should be greater than or equal to 0"),
        ("schedule.rounds", 0, "schedule.rounds: Input should be greater"),
        ("sft", {"path": "/no/sft.jsonl"}, "sft.path: no such file: /no/sft.jsonl"),
        ("policy", {"model": "/no/model"}, "policy.model: no such folder: /no/model"),
        ("policy", {"model": "/no/model.gguf"}, "policy.model: no such file: /no/model.gguf"),
        ("policy", {"model": "./no-model"}, "policy.model: no such folder: ./no-model"),
        (
            "prompts.path",
            "{data_dir}/p.jsonl",
            "prompts.path is '{data_dir}/p.jsonl', but data_dir",
        ),
        # user code
        ("judge.function", "no_such_module:score", "there is no module no_such_module"),
        ("judge.function", "examples.reviews.judg:score", "Did you mean judge?"),
        ("judge.function", "examples.reviews.judge:scor", "Did you mean score"),
        ("judge.function", "examples.reviews.judge:REJECTED", "is a float"),
        ("judge.function", "score", "'score' is not an import path"),
        ("prompts", {"function": "examples.reviews.grammar:prompt"}, "has no 'prompt'"),
        ("sft", {"function": "examples.reviews.grammar:review"}, "Did you mean reviews"),
        ("policy.build", "examples.reviews.model:bild", "Did you mean build?"),
        ("policy.build", "examples.reviews.models:build", "Did you mean model?"),
    ],
)
def test_refused_before_anything_is_written(
    good: dict[str, Any], refused: Refused, key: str, value: Any, message: str
) -> None:
    assert message in refused(changed(good, key, value))


def test_a_campaign_made_with_options_that_are_refused_now_is_still_read(
    good: dict[str, Any], refused: Refused
) -> None:
    made = changed(good, "training", {"loss": "aot", "wpo": True})
    assert validate(made, "campaign.yaml").training.wpo
    assert "set training.wpo to false" in refused(made)
    assert validate(changed(good, "training", {"loss": "ipo", "ld_alpha": 1}), "c").training


@pytest.mark.parametrize(("key", "value"), [("temperature", 0.7), ("top_p", 0.9)])
def test_sampled_log_probs_need_the_policys_own(
    good: dict[str, Any], refused: Refused, key: str, value: float
) -> None:
    message = refused(
        {**good, "sampling": {key: value}}, "--set", "training.reference_logps=from_sampling"
    )
    assert "needs temperature 1 and top_p 1 (found" in message and f"{key} {value}" in message


def test_soft_targets_need_a_loss_that_takes_them(good: dict[str, Any], refused: Refused) -> None:
    message = refused(good, "--set", "training.loss=ipo", "--set", "aggregation.targets=soft")
    assert "training.loss ipo does not: set training.loss to one of sigmoid, " in message


@pytest.mark.parametrize("judge", [None, {"kind": "human"}])
def test_calibration_needs_a_judge_and_people(
    good: dict[str, Any], refused: Refused, judge: dict[str, str] | None
) -> None:
    config = {**good, "judge": judge or good["judge"], "evaluation_judge": good["judge"]}
    message = refused({**config, "pairs": {"strategy": "random"}}, "--set", CALIBRATE)
    assert "aggregation.calibrate needs people and an automatic judge" in message


CALIBRATE = "aggregation.calibrate=true"


@pytest.mark.parametrize(
    ("people", "labels", "message"),
    [
        ({"min_submitted": 3}, 2, "human_labels 2 does not cover one pair, which takes"),
        ({"gold_share": 0.5, "repeat_share": 0.5}, None, "leave no room for new pairs"),
    ],
)
def test_something_must_be_left_to_ask(
    good: dict[str, Any], refused: Refused, people: dict[str, float], labels: int, message: str
) -> None:
    judge = {"kind": "committee", "members": [good["judge"], {"kind": "human"}]}
    budget = {"human_labels": labels}
    assert message in refused({**good, "judge": judge, "people": people, "budget": budget})


@pytest.mark.parametrize("rounds", ["all", "{last: 2}", "{mix: {earlier: 1}}"])
def test_sampled_log_probs_are_those_of_the_rounds_own_answers(
    good: dict[str, Any], refused: Refused, rounds: str
) -> None:
    sampled = changed(good, "training.reference_logps", "from_sampling")
    message = refused(sampled, "--set", f"data.rounds={rounds}")
    assert "adds those of other rounds: set data.rounds to latest" in message
    validate({**sampled, "data": {"rounds": {"last": 1}}}, "c.yaml")


def test_judge_that_cannot_be_imported(
    good: dict[str, Any], refused: Refused, rule: Callable[[str], str]
) -> None:
    path = rule("import no_such_library\n" + JUDGE)
    message = refused(changed(good, "judge.function", path))
    assert "raised ModuleNotFoundError: No module named 'no_such_library'" in message
    assert "Make `python -c 'import" in message


def test_build_function_is_not_imported_here(
    good: dict[str, Any], refused: Refused, rule: Callable[[str], str]
) -> None:
    heavy = rule("raise SystemExit('imported')\n\ndef score(out_dir, seed):\n    pass\n")
    bad = changed(changed(good, "policy.build", heavy), "judge.function", "no_such_module:f")
    assert "no_such_module" in refused(bad)
    assert "has no 'build'" in refused(
        changed(good, "policy.build", heavy.replace("score", "build"))
    )
    broken = rule("def score(:\n")
    assert "invalid syntax" in refused(changed(good, "policy.build", broken))


def test_every_problem_is_told_at_once(good: dict[str, Any], refused: Refused) -> None:
    message = refused({**good, "rounds": "x", "sead": 1, "training": {"beta": -1}})
    for part in ("rounds: ", "unknown key sead; did you mean seed?", "training.beta: "):
        assert part in message
    assert len(message.splitlines()) == 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("rounds", "--set rounds: expected key=value"),
        ("=3", "--set =3: expected key=value"),
        ("training.betta=1", "unknown key training.betta; did you mean beta?"),
        ("rounds=many", "rounds: Input should be a valid integer"),
        ("name.x=1", "name is a value and has no keys below it"),
        ("judge.function={a: [}", "is not a YAML value"),
        ("policy.model=a/b", "set exactly one of model and build"),
        ("prompts.path=/no/file", "no such file: /no/file"),
    ],
)
def test_bad_override(good: dict[str, Any], refused: Refused, override: str, message: str) -> None:
    assert message in refused(good, "--set", override)


def test_data_dir_that_lacks_the_file(good: dict[str, Any], refused: Refused) -> None:
    config = changed(good, "prompts.path", "{data_dir}/train.jsonl")
    assert "--set data_dir=PATH" in refused(config)
    message = refused(config, "--set", "data_dir=/nowhere")
    assert "prompts.path: no such file: /nowhere/train.jsonl" in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must hold keys and values (found NoneType)"),
        ("- a\n", "must hold keys and values (found list)"),
        ("a: [\n", "is not valid YAML"),
        ("name: x\n", "policy: Field required"),
    ],
)
def test_file_that_is_no_config(refused: Refused, text: str, message: str) -> None:
    assert message in refused(text)


def test_missing_config_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ratchet", "run", "no.yaml"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    assert capsys.readouterr().err == (
        "ratchet: cannot read config no.yaml: No such file or directory\n  Check the path.\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_folder_that_holds_something_else(
    good: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dpo_core.campaign.layout import Layout
    from dpo_core.errors import BadInput
    from flows.run import check_folder

    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(BadInput, match="is not empty and is not a campaign"):
        check_folder(Layout(tmp_path / "other"))
    with pytest.raises(BadInput, match="is a file"):
        check_folder(Layout(tmp_path / "other" / "thesis.tex"))
    check_folder(Layout(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_refusing_loads_nothing_heavy(good: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(changed(good, "policy.build", "examples.x:y")))
    code = (
        "import sys\nfrom flows import cli\n"
        "sys.argv = ['ratchet', 'run', sys.argv[1]]\n"
        "try:\n    cli.main()\nexcept SystemExit as end:\n    assert end.code == 2\n"
        "heavy = {'torch', 'transformers', 'vllm', 'prefect', 'argilla'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "c.yaml")]
    root = Path(__file__).parents[2]
    env = {"PYTHONPATH": f"{root}:{tmp_path}", "PATH": "/usr/bin"}
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path, env=env)


def test_a_loss_of_the_user_is_looked_up_and_is_part_of_what_a_round_depends_on(
    good: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "own_loss.py"
    source.write_text("import no_such_library\ndef cubic(terms, options): ...\n")
    config = validate(changed(good, "training.loss", "own_loss:cubic"), "c")
    check_functions(config)  # and nothing is imported
    before = loss_functions(config.training.loss)
    source.write_text("def cubic(terms, options): return terms.margin\n")
    assert loss_functions(config.training.loss).keys() == before.keys() == {"own_loss:cubic"}
    assert loss_functions(config.training.loss) != before
    assert loss_functions("sigmoid") == {}
    with pytest.raises(ConfigError, match=r"training.loss: own_loss:cubc.*has no 'cubc'"):
        check_functions(validate(changed(good, "training.loss", "own_loss:cubc"), "c"))
