"""TRL's OnlineDPOTrainer: `python -m benchmarks.frontier.trl_side JOB_JSON`.

The job: `policy` and `prompts` (a JSON list) to start from, `out` for the trained policy, and the
recipe's numbers. Two answers per prompt, the reference is the policy that it started from.
"""

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from benchmarks.frontier.judge import rewards
from benchmarks.trl_online import trl_options


def train(job: dict[str, Any]) -> dict[str, Any]:
    """Train in one pass over the prompts; what it came to."""
    os.environ |= {"TQDM_DISABLE": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}
    warnings.filterwarnings("ignore", message="TRL currently supports vLLM")
    import datasets
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer

    from dpo_core.training.runtime import save_policy

    transformers.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    tokenizer = AutoTokenizer.from_pretrained(job["policy"])
    prompts = json.loads(Path(job["prompts"]).read_text())
    trainer = OnlineDPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(job["policy"], dtype=torch.float32),
        args=OnlineDPOConfig(**_settings(job)),
        reward_funcs=rewards,
        train_dataset=datasets.Dataset.from_dict({"prompt": prompts}),
        processing_class=tokenizer,
    )
    trainer.train()
    save_policy(trainer.model, tokenizer, Path(job["out"]))
    return {"steps": trainer.state.global_step, "prompts": len(prompts)}


def _settings(job: dict[str, Any]) -> dict[str, Any]:
    return trl_options(
        job,
        output_dir=str(Path(job["prompts"]).parent / "trl"),
        per_device_train_batch_size=job["pairs_per_step"],
        num_train_epochs=1,
        bf16=False,
    )


if __name__ == "__main__":
    print("\n" + json.dumps(train(json.loads(sys.argv[1]))), flush=True)
