"""What another model wrote, as the token ids that the policy would have sampled for it."""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from test_tokenise import ASSISTANT, EOS, SKY, TURN, USER, WHY, YES, tokenizer, user

from dpo_core.records import Prompt, prompt_id, prompt_row
from dpo_core.schemas import COMPLETIONS, PROMPTS
from dpo_core.tables import read_rows, write_rows
from generation.jobs import RetokeniseJob, RetokeniseResult
from generation.tokenise import retokenise

PLAIN = Prompt(prompt_id("why", None), text="why")
CHAT = Prompt(prompt_id(None, user("why")), messages=user("why"))
REFUSED = Prompt("r", messages=({"role": "system", "content": "no"},))


def written(prompt: Prompt, text: str, finish_reason: str = "stop") -> dict[str, Any]:
    return {
        "completion_id": f"{prompt.prompt_id} {text}",
        "prompt_id": prompt.prompt_id,
        "sample_index": 3,
        "text": text,
        "prompt_token_ids": [900],
        "token_ids": [901, 902],
        "token_logps": [-0.5, -0.25],
        "finish_reason": finish_reason,
        "seed": 5,
        "policy": "the other",
    }


def test_texts_of_another_model_in_the_policys_tokens(tmp_path: Path) -> None:
    rows = [
        written(PLAIN, "yes sky"),
        written(PLAIN, "yes sky", "length"),
        written(PLAIN, "yes <turn>"),
        written(PLAIN, "yes " * 9),
        written(CHAT, "sky"),
        written(REFUSED, "yes"),
    ]
    write_rows(tmp_path / "others.parquet", rows, COMPLETIONS)
    write_rows(tmp_path / "prompts.parquet", map(prompt_row, (PLAIN, CHAT, REFUSED)), PROMPTS)
    prompts, others, ours = (tmp_path / f"{n}.parquet" for n in ("prompts", "others", "ours"))
    job = RetokeniseJob(policy=tmp_path, prompts=prompts, completions=others, out=ours, longest=10)
    made = retokenise(tokenizer(), job, lambda *_: None)
    dropped = {"special_tokens": 1, "template": 1, "too_long": 1}
    assert made == RetokeniseResult(kept=3, dropped=dropped)
    ours = read_rows(tmp_path / "ours.parquet")
    assert [(row["prompt_token_ids"], row["token_ids"]) for row in ours] == [
        ([WHY], [YES, SKY, EOS]),
        ([WHY], [YES, SKY]),  # cut: never taught as finished
        ([USER, WHY, TURN, ASSISTANT], [SKY, EOS]),
    ]
    assert {row["token_logps"] for row in ours} == {None}
    assert {(row["policy"], row["sample_index"], row["seed"]) for row in ours} == {
        ("the other", 3, 5)
    }
