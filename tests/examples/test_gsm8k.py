"""The GSM8K task: arithmetic is parsed, not evaluated; the judge's scores are derived by hand."""

import json
import os
import time
from fractions import Fraction
from pathlib import Path

import pytest

from dpo_core.records import Completion, Prompt
from examples.gsm8k.arithmetic import MAX_DEPTH, MAX_LENGTH, NotArithmetic, evaluate, is_right
from examples.gsm8k.judge import score
from examples.gsm8k.model import BOT, EOS, PAD, USER, VOCABULARY, build

PROBLEMS = [
    ("A pen costs $2. What do 12 pens cost?", "12 * 2 = $<<12*2=24>>24\n#### 24"),
    ("Ann  has 9 apples,\nBob 3 fewer. Together?", "9 - 3 = <<9-3=6>>6\n9 + 6 = 15\n#### 15"),
    ("Half of 7 – as a “decimal”? 🙂", "7/2 = <<7/2=3.5>>3.5\n#### 3.5"),
]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("2+3*4", Fraction(14)),  # and not (2+3)*4 = 20
        ("(2+3)*4", Fraction(20)),
        ("20-5-3", Fraction(12)),  # from the left, and not 20-(5-3) = 18
        ("24/4/2", Fraction(3)),  # and not 24/(4/2) = 12
        ("-3+5", Fraction(2)),
        ("2*-3", Fraction(-6)),
        ("-(2-5)", Fraction(3)),
        ("--4", Fraction(4)),
        ("+12.5 + .5", Fraction(13)),
        ("0.1+0.2", Fraction(3, 10)),  # where floating point gives 0.30000000000000004
        ("1/3", Fraction(1, 3)),
    ],
)
def test_evaluate(expression: str, value: Fraction) -> None:
    assert evaluate(expression) == value


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("", "expected a number"),
        ("1/0", "division by zero"),
        ("1/(3-3)", "division by zero"),
        ("(1+2", "missing \\)"),
        ("1+2)", "unexpected '\\)'"),
        ("3 4", "unexpected '4'"),
        ("2(3)", "unexpected '\\('"),
        ("1.2.3", "unexpected '.3'"),
        ("1_000", "unexpected '_'"),
        ("1e9", "unexpected 'e'"),
        ("٣+1", "unexpected"),
        ("2**9**9", "expected a number, found '\\*'"),
        ("__import__('os').getcwd()", "unexpected '_'"),
        ("(" * (MAX_DEPTH + 1) + "1" + ")" * (MAX_DEPTH + 1), "nested deeper"),
        ("-" * (MAX_DEPTH + 1) + "1", "nested deeper"),
        ("(" * 1_000_000, "longer than"),
        ("9" * (MAX_LENGTH + 1), "longer than"),
    ],
    ids=lambda text: text[:20],
)
def test_evaluate_refuses(expression: str, reason: str) -> None:
    with pytest.raises(NotArithmetic, match=reason):
        evaluate(expression)


def test_depth_up_to_the_bound_is_read() -> None:
    assert evaluate("(" * MAX_DEPTH + "7" + ")" * MAX_DEPTH) == 7


def test_longest_expression_costs_little() -> None:
    started = time.perf_counter()
    evaluate("*".join(["9"] * (MAX_LENGTH // 2)))
    assert time.perf_counter() - started < 0.5


@pytest.mark.parametrize(
    "annotation", ["48/2=24", "12/60=0.2", ".5*4=2", "2-5=-3", "1/4=.25", "6/3=2.0", " 1 + 1 = 2 "]
)
def test_exact_annotation_is_right(annotation: str) -> None:
    assert is_right(annotation)


def test_only_cents_and_finer_may_be_rounded() -> None:
    # 10/3 = 3.333…, 3.335 is half a cent from 3.33 and from 3.34, 7/2 = 3.5
    assert [is_right(f"10/3={value}") for value in ("3.33", "3.333", "3.34", "3.3", "3")] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert is_right("3.335=3.33")
    assert is_right("3.335=3.34")
    assert not is_right("7/2=4")


@pytest.mark.parametrize(
    "annotation",
    ["", "=", "5", "5=", "=5", "2+2=5", "3/4=3/4", "2+3=5=5", "1/0=0", "5+5=ten", "1=.", "2*2=-"],
)
def test_anything_else_is_not_right(annotation: str) -> None:
    assert not is_right(annotation)


def test_value_too_long_to_read_is_not_right() -> None:
    assert not is_right("5=5" + " " * MAX_LENGTH)


def completion(text: str, finish_reason: str = "stop") -> Completion:
    return Completion("c", Prompt("p", text="How many?"), text, finish_reason, tokens=9)


@pytest.mark.parametrize(
    ("text", "value", "reason"),
    [
        # one of two right: 1/2, and 0.5 for the ending
        (
            "<<2*3=6>>6 and <<6+1=8>>8\n#### 8",
            1.0,
            "1 of 2 calculations right; ends with #### number",
        ),
        ("<<2*3=6>>6\n#### 1,080", 1.5, "1 of 1 calculations right; ends with #### number"),
        ("<<2*3=6>>6", 1.0, "1 of 1 calculations right; does not end with #### number"),
        (
            "<<2*3=6>>6\n#### 6 pens",
            1.0,
            "1 of 1 calculations right; does not end with #### number",
        ),
        # nothing shown: share 0, and 0.5 for the ending
        ("It is 6.\n#### -6.5\n", 0.5, "shows no calculation; ends with #### number"),
        ("2*3=6", 0.0, "shows no calculation; does not end with #### number"),
        ("<<2*3=6 and so on", 0.0, "shows no calculation; does not end with #### number"),
        # unreadable annotations count as annotations: 1 of 4 right
        (
            "<<__import__('os')=1>><<2**9**9=1>><<>><<1+1=2>>",
            0.25,
            "1 of 4 calculations right; does not end with #### number",
        ),
    ],
)
def test_score(text: str, value: float, reason: str) -> None:
    [judged] = score([completion(text)])
    assert (judged.value, judged.reason) == (value, reason)


def test_cut_answer_gets_no_half_point() -> None:
    [judged] = score([completion("<<2*3=6>>6\n#### 6", "length")])
    assert (judged.value, judged.reason) == (
        1.0,
        "1 of 1 calculations right; cut at the length limit",
    )


def test_measure_counts_annotations_and_leaves_out_what_has_none() -> None:
    two, none = score([completion("<<1+1=2>><<1+1=3>>"), completion("#### 2")])
    assert two.measures == {"annotations_right": (1, 2)}
    assert none.measures == {}


def test_thousands_of_open_brackets_cost_little() -> None:
    started = time.perf_counter()
    [judged] = score([completion("<<" * 100_000 + "1" * 100_000)])
    assert judged.value == 0.0
    assert time.perf_counter() - started < 2


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gsm8k") / "train.jsonl"
    lines = [json.dumps({"question": question, "answer": answer}) for question, answer in PROBLEMS]
    path.write_text("".join(line + "\n" for line in lines * 20), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def built(corpus: Path) -> Path:
    folder = corpus.parent / "model"
    build(folder, seed=0, corpus=str(corpus))
    return folder


def test_model_is_small_and_has_an_embedding_for_every_token(built: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(built)
    assert 1_500_000 < model.num_parameters() < 3_000_000
    assert model.get_input_embeddings().num_embeddings == VOCABULARY


def test_tokenizer_marks_the_boundary_and_gives_the_text_back(built: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(built)
    assert (tokenizer.pad_token, tokenizer.eos_token) == (PAD, EOS)
    user, bot = tokenizer.convert_tokens_to_ids([USER, BOT])
    for question, answer in PROBLEMS:
        prompt_ids = tokenizer(question)["input_ids"]
        answer_ids = tokenizer(answer, add_special_tokens=False)["input_ids"]
        assert (prompt_ids[0], prompt_ids[-1]) == (user, bot)
        assert not set(answer_ids) & set(tokenizer.all_special_ids)
        assert tokenizer.decode(prompt_ids, skip_special_tokens=True) == question
        ended = [*answer_ids, tokenizer.eos_token_id]
        assert tokenizer.decode(ended, skip_special_tokens=True) == answer


def test_every_digit_is_a_token(built: Path) -> None:
    from transformers import AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(built).tokenize("1024/16=64")
    assert tokens == list("1024/16=64")


def test_equal_seeds_build_equal_files(built: Path, corpus: Path, tmp_path: Path) -> None:
    build(tmp_path / "again", seed=0, corpus=str(corpus))
    build(tmp_path / "other", seed=1, corpus=str(corpus))
    for name in ("tokenizer.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (built / name).read_bytes()
    weights = "model.safetensors"
    assert (tmp_path / "other" / weights).read_bytes() != (built / weights).read_bytes()


def test_missing_corpus_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.jsonl"):
        build(tmp_path / "model", seed=0, corpus=str(tmp_path / "nowhere.jsonl"))


@pytest.mark.slow
@pytest.mark.proof  # needs the data set, which the repository does not hold
def test_reference_solutions_are_judged_right() -> None:
    """At least 97 % of the reference annotations; measured: 23,714 of 23,716 (two write `//`)."""
    folder = os.environ.get("RATCHET_GSM8K_DIR")
    if not folder:
        pytest.fail("set RATCHET_GSM8K_DIR to the folder that holds GSM8K's train.jsonl")
    with (Path(folder) / "train.jsonl").open(encoding="utf-8") as file:
        judged = score([completion(json.loads(line)["answer"]) for line in file])
    counts = [one.measures["annotations_right"] for one in judged if one.measures]
    right, total = (sum(column) for column in zip(*counts, strict=True))
    assert right / total >= 0.97
    assert all("ends with" in one.reason for one in judged)
