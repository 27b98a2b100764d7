"""Tests of the judge: `python test_my_judge.py`, or pytest. Change both together."""

from my_judge import score

from dpo_core.records import Completion, Prompt

PROMPT = Prompt("p1", messages=({"role": "user", "content": "Why do cats purr?"},))


def answer(text: str, finish_reason: str = "stop") -> Completion:
    return Completion("c1", PROMPT, text, finish_reason, tokens=len(text.split()))


def test_short_finished_answers_win() -> None:
    short, long, cut, empty = (
        answer("They purr when they are content, and to calm themselves."),
        answer("Cats purr. " * 50),
        answer("Cats purr because", "length"),
        answer(" "),
    )
    scores = [value for value, _ in score([short, long, cut, empty]) if value is not None]
    assert len(scores) == 4, "one score for each answer"
    assert scores[0] > scores[1] > scores[3] > scores[2]


if __name__ == "__main__":
    test_short_finished_answers_win()
    print("ok")
