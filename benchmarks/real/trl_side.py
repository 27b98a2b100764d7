"""TRL's OnlineDPOTrainer in bfloat16: `python -m benchmarks.real.trl_side JOB_JSON`.

The job: `policy` to start from, `prompts` (JSON lines: messages, and the row that a judge reads),
`out` for the policies, `cpu_seconds` for all `parts`: after each of these the policy is saved as
`out`/1, `out`/2, …, with a checkpoint from which the same call goes on after a kill; `until`, the
part after which it stops; and the recipe's numbers. The judge is the recipe's rule. Float32
masters, bfloat16 computation, answers by transformers: the way that TRL has on a CPU. Two answers
per prompt; the reference is the policy that it started from.
"""

import json
import os
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.trl_online import trl_options
from dpo_core.atomic import write_json
from dpo_core.records import Completion, Prompt
from examples.instructions.judge import score

_BATCH = 8
"""Prompts of one pass: the logits of their answers take 2 GiB."""


def train(job: dict[str, Any]) -> list[dict[str, Any]]:
    """What had been done at the end of each part."""
    os.environ |= {"TQDM_DISABLE": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}
    warnings.filterwarnings("ignore", message="TRL currently supports vLLM")
    import datasets
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer

    transformers.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    tokenizer = AutoTokenizer.from_pretrained(job["policy"])
    lines = Path(job["prompts"]).read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    out = Path(job["out"])
    parts = _parts_of(out)
    if len(parts) >= job["until"]:
        return parts
    stop = _stop(job, parts, tokenizer)
    trainer = OnlineDPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(job["policy"], dtype=torch.float32),
        args=OnlineDPOConfig(**_settings(job)),
        reward_funcs=rewards_of(tokenizer.eos_token_id),
        train_dataset=datasets.Dataset.from_list(
            [{"prompt": row["messages"], "row": json.dumps(row["row"])} for row in rows]
        ),
        processing_class=tokenizer,
        callbacks=[stop],
    )
    trainer.train(resume_from_checkpoint=str(_checkpoint(out, parts[-1])) if parts else None)
    return _parts_of(out)


def _parts_of(out: Path) -> list[dict[str, Any]]:
    path = out / "parts.json"
    found: list[dict[str, Any]] = json.loads(path.read_text("utf-8")) if path.exists() else []
    return found


def _checkpoint(out: Path, part: dict[str, Any]) -> Path:
    return out / "trl" / f"checkpoint-{part['steps']}"


def rewards_of(eos: int) -> Any:
    """The rule as a reward function of TRL's: an answer without end-of-sequence was cut."""

    def rewards(
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]],
        row: Sequence[str],
        **_: object,
    ) -> list[float]:
        answers = [
            Completion(
                "",
                Prompt("", messages=tuple(asked), extra=json.loads(extra)),
                said[-1]["content"],
                "stop" if eos in ids else "length",
                len(ids),
            )
            for asked, said, ids, extra in zip(
                prompts, completions, completion_ids, row, strict=True
            )
        ]
        return [found.value or 0.0 for found in score(answers)]

    return rewards


def _stop(job: dict[str, Any], parts: list[dict[str, Any]], tokenizer: Any) -> Any:
    """A callback that saves policy and checkpoint after each part, and ends after the last.

    A part is counted once its checkpoint is on disk: parts.json is written last.
    """
    from transformers import TrainerCallback

    from dpo_core.training.runtime import save_policy

    class Stop(TrainerCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.began = time.monotonic(), time.process_time()

        def on_train_begin(self, args: Any, state: Any, control: Any, **named: Any) -> None:
            self.began = time.monotonic(), time.process_time()

        def on_step_end(self, args: Any, state: Any, control: Any, **named: Any) -> None:
            used = time.process_time() - self.began[1]
            if used >= job["cpu_seconds"] / job["parts"]:
                save_policy(named["model"], tokenizer, Path(job["out"]) / f"{len(parts) + 1}")
                control.should_save = True
            control.should_training_stop = control.should_save and len(parts) + 1 == job["until"]

        def on_save(self, args: Any, state: Any, control: Any, **named: Any) -> None:
            wall, used = self.began
            self.began = time.monotonic(), time.process_time()
            parts.append(
                {
                    "part": len(parts) + 1,
                    "steps": state.global_step,
                    "pairs": state.global_step * job["pairs_per_step"],
                    "wall_s": round(self.began[0] - wall, 2),
                    "cpu_s": round(self.began[1] - used, 2),
                }
            )
            write_json(Path(job["out"]) / "parts.json", parts)
            print(json.dumps(parts[-1]), file=sys.stderr, flush=True)

    return Stop()


def _settings(job: dict[str, Any]) -> dict[str, Any]:
    batch = min(_BATCH, job["pairs_per_step"])
    return trl_options(
        job,
        output_dir=str(Path(job["out"]) / "trl"),
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=job["pairs_per_step"] // batch,
        num_train_epochs=100,  # the time ends it
        bf16=True,
        save_total_limit=1,
    )


if __name__ == "__main__":
    print("\n" + json.dumps({"parts": train(json.loads(sys.argv[1]))}), flush=True)
