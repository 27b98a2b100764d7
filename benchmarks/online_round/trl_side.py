"""TRL's side: `python -m benchmarks.online_round.trl_side FOLDER SIZE_JSON SETTINGS_JSON`.

Settings: `batch` (prompts that one pass samples and trains on; an optimiser step accumulates as
many as it takes), `prompts` (only so many), `allocator` (freed memory is kept, not returned and
faulted in again), `by_length` (prompts of similar length together), `config` (fields of TRL's
config), `vllm_by_hand` (TRL's way of giving vLLM new weights fails on CPU, so it gets them as
Ratchet's engine does).
"""

import json
import os
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.dpo_round import side
from benchmarks.online_round import judge, workload
from dpo_core.allocator import keep_freed_memory


def run(folder: Path, size: workload.Size, settings: dict[str, Any]) -> dict[str, float]:
    """One epoch over the prompts: CPU-seconds by part, and what was sampled and trained on."""
    if settings.get("allocator"):
        keep_freed_memory()
    os.environ |= {"TQDM_DISABLE": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}
    warnings.filterwarnings("ignore", message="TRL currently supports vLLM")
    prompts = workload.train_prompts(folder)[: settings.get("prompts")]
    if settings.get("by_length"):
        prompts.sort(key=lambda prompt: len(prompt.split()))
    trainer = _trainer(folder, size, settings, prompts)
    started = time.process_time()
    trainer.train()
    used = time.process_time() - started
    named = {name: trainer.parts[name] for name in ("sampling", "judging")}
    return {
        "cpu_seconds": used,
        **named,
        "training": used - sum(named.values()),
        "other": 0.0,
        "start_cpu_seconds": started,
        "evaluating": 0.0,
        "prompts": len(prompts),
        "pairs": trainer.pairs,
        "tokens": trainer.tokens,
        "first_loss": trainer.first_loss,
    }


def _trainer(
    folder: Path, size: workload.Size, settings: dict[str, Any], prompts: list[str]
) -> Any:
    import datasets
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl.experimental.online_dpo import OnlineDPOConfig

    side.warm_up()
    transformers.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    config = OnlineDPOConfig(
        output_dir=str(folder / "trl"),
        per_device_train_batch_size=settings["batch"],
        gradient_accumulation_steps=size.pairs_per_step // settings["batch"],
        num_train_epochs=1,
        learning_rate=workload.LEARNING_RATE,
        lr_scheduler_type="constant",
        beta=workload.BETA,
        temperature=1.0,
        max_new_tokens=size.max_tokens,
        max_length=size.longest,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        train_sampling_strategy="sequential",
        seed=workload.SEED,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        **settings.get("config", {}),
    )
    trainer = _measured_trainer()
    if settings.get("vllm_by_hand"):
        trainer = _with_vllm_by_hand(trainer, folder, settings["batch"])
    return trainer(
        model=AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32),
        args=config,
        reward_funcs=judge.rewards,
        train_dataset=datasets.Dataset.from_dict({"prompt": prompts}),
        processing_class=AutoTokenizer.from_pretrained(folder / "model"),
    )


def _measured_trainer() -> Any:
    """TRL's trainer with a clock at the borders of its parts."""
    from trl.experimental.online_dpo import OnlineDPOTrainer

    class Trainer(OnlineDPOTrainer):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **named: Any) -> None:
            self.parts: defaultdict[str, float] = defaultdict(float)
            self.pairs = self.tokens = 0
            self.first_loss = 0.0
            super().__init__(*arguments, **named)

        def training_step(self, *arguments: Any, **named: Any) -> Any:
            loss = super().training_step(*arguments, **named)
            self.first_loss = self.first_loss or float(loss) * self.args.gradient_accumulation_steps
            return loss

        def _generate(self, *arguments: Any, **named: Any) -> Any:
            with self._clock("sampling"):
                return self._counted(super()._generate(*arguments, **named))

        def _generate_vllm(self, *arguments: Any, **named: Any) -> Any:
            with self._clock("sampling"):
                return self._counted(super()._generate_vllm(*arguments, **named))

        def _calculate_rewards_from_functions(self, *arguments: Any, **named: Any) -> Any:
            with self._clock("judging"):
                return super()._calculate_rewards_from_functions(*arguments, **named)

        def _counted(self, sampled: Any) -> Any:
            completion_mask = sampled[3]
            self.pairs += len(completion_mask) // workload.SAMPLES_PER_PROMPT
            self.tokens += int(completion_mask.sum())
            return sampled

        @contextmanager
        def _clock(self, part: str) -> Iterator[None]:
            started = time.process_time()
            yield
            self.parts[part] += time.process_time() - started

    return Trainer


def _with_vllm_by_hand(trainer: Any, folder: Path, batch: int) -> Any:
    """`trainer` with vLLM uncompiled, with a place for every answer, its weights read anew."""
    from trl.experimental.online_dpo import online_dpo_trainer
    from vllm import LLM

    places = workload.SAMPLES_PER_PROMPT * batch

    def engine(**named: Any) -> Any:
        return LLM(**{**named, "enforce_eager": True, "max_num_seqs": places})

    online_dpo_trainer.LLM = engine

    class Trainer(trainer):  # type: ignore[misc]
        def _move_model_to_vllm(self) -> None:
            weights = folder / "now"
            self.model.save_pretrained(weights)
            self.llm.collective_rpc("reload_weights", kwargs={"weights_path": str(weights)})
            self.llm.reset_prefix_cache()

    return Trainer


if __name__ == "__main__":
    side.show(
        run(
            Path(sys.argv[1]),
            workload.Size(**json.loads(sys.argv[2])),
            json.loads(sys.argv[3]),
        )
    )
