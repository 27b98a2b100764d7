"""TRL's side: `python -m benchmarks.dpo_round.trl_side FOLDER SETTINGS_JSON`.

Settings: `batch` (pairs of one forward pass), `accumulate` (passes of one optimiser step) and, each
true or false, `completion_rows` (the head sees completion rows only, which TRL does on GPUs; here
its switch is set by hand), `allocator` (freed memory is kept, not returned and faulted in again),
`by_length` (similar lengths together, which changes the pairs of a step).
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from benchmarks.dpo_round import side, workload
from dpo_core.allocator import keep_freed_memory


def run(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    if settings.get("allocator"):
        keep_freed_memory()
    os.environ["TQDM_DISABLE"] = "1"
    import datasets
    import torch
    import transformers
    import trl
    from transformers import AutoModelForCausalLM, AutoTokenizer

    side.warm_up()
    transformers.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    if settings.get("completion_rows"):
        trl.trainer.utils._use_triton = lambda device: True

    losses: list[torch.Tensor] = []

    class Trainer(trl.DPOTrainer):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset  # it holds token ids already

        def _compute_loss(self, *arguments: Any, **named: Any) -> Any:
            loss = super()._compute_loss(*arguments, **named)
            losses.append(loss.detach())
            return loss

    rows = json.loads((folder / "pairs.json").read_text())
    if settings.get("by_length"):
        for row in rows:
            completion = max(len(row["chosen_ids"]), len(row["rejected_ids"]))
            row["length"] = len(row["prompt_ids"]) + completion
    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
    config = trl.DPOConfig(
        output_dir=str(folder / "trl"),
        per_device_train_batch_size=settings["batch"],
        gradient_accumulation_steps=settings["accumulate"],
        num_train_epochs=1,
        learning_rate=workload.LEARNING_RATE,
        beta=workload.BETA,
        precompute_ref_log_probs=True,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        train_sampling_strategy="group_by_length" if settings.get("by_length") else "sequential",
        seed=workload.SEED,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    result: dict[str, Any] = {}
    with side.measured(result):
        trainer = Trainer(
            model=model,
            args=config,
            train_dataset=datasets.Dataset.from_list(rows),
            processing_class=AutoTokenizer.from_pretrained(folder / "model"),
        )
        trainer.train()
    per_step = settings["accumulate"]
    steps = [losses[i : i + per_step] for i in range(0, len(losses), per_step)]
    return {**result, "losses": [float(torch.stack(step).mean()) for step in steps]}


if __name__ == "__main__":
    side.show(run(Path(sys.argv[1]), json.loads(sys.argv[2])))
