"""TRL's side: `python -m benchmarks.dpo_round.trl_side FOLDER SETTINGS_JSON`.

Settings: `batch` (pairs of one forward pass), `accumulate` (passes of one optimiser step), `flags`
(of DPOConfig, beyond those of every run; default: those of runs on CPU), `attention` (of
transformers; default: its own choice), `training` (what both sides share, as our training options)
and, each true or false, `completion_rows` (the head sees completion rows only, which TRL does on
GPUs; on CPU its switch is set by hand), `allocator` (freed memory is kept, not returned and faulted
in again), `by_length` (similar lengths together, which changes the pairs of a step), `unhashed`
(the cache of the reference's log-probs, which is never read again here, has a random name, not a
hash of gigabytes of weights).
"""

import json
import os
import secrets
import sys
from pathlib import Path
from typing import Any

from benchmarks.dpo_round import side, workload
from dpo_core.allocator import keep_freed_memory

_TOLD = ("bf16", "gradient_checkpointing", "optim", "precompute_ref_log_probs", "tf32")
"""What DPOConfig decides by itself, and what a figure depends on most."""
_ON_CPU = {"precompute_ref_log_probs": True, "gradient_checkpointing": False, "bf16": False}


def run(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Reference pass and training of one round by TRL; `flags` are DPOConfig's, as they were set.

    A setting that cannot be run here gives `failed`, the reason, alone.
    """
    if settings.get("allocator"):
        keep_freed_memory()
    os.environ["TQDM_DISABLE"] = "1"
    side.warm_up()
    _prepare_libraries(settings)
    try:
        found = [_round(folder, model, settings) for model in side.models(folder)]
    except Exception as error:  # whatever a package that is missing, or memory, ends it with
        text = str(error).strip().splitlines()
        return {"failed": f"{type(error).__name__}: {text[0] if text else ''}"}
    return found[-1]


def _prepare_libraries(settings: dict[str, Any]) -> None:
    import datasets
    import torch
    import transformers
    import trl

    from dpo_core.hashing import derive_seed

    transformers.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    if settings.get("completion_rows"):
        trl.trainer.utils._use_triton = lambda device: True
    if "lora" in settings.get("training", {}):
        # The same adapters as on our side: TRL makes them right after it has set its seed.
        seed = derive_seed(workload.SEED, "lora")
        trl.trainer.dpo_trainer.set_seed = lambda _: torch.manual_seed(seed)
    if settings.get("unhashed"):
        trl.trainer.dpo_trainer.hash_module = lambda _: secrets.token_hex()


def _round(folder: Path, policy: Path, settings: dict[str, Any]) -> dict[str, Any]:
    import datasets
    import torch
    import trl
    from transformers import AutoTokenizer

    losses: list[torch.Tensor] = []

    class Trainer(trl.DPOTrainer):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset  # it holds token ids already

        def _compute_loss(self, *arguments: Any, **named: Any) -> Any:
            loss = super()._compute_loss(*arguments, **named)
            losses.append(loss.detach())
            return loss

    flags = _flags(folder, settings)
    config = trl.DPOConfig(**flags)
    rows, adapters = _rows(folder, settings), _adapters(settings)
    model = _load(policy, settings)
    result: dict[str, Any] = {}
    with side.memory_added(result):
        beside = None
        if "lora" not in settings.get("training", {}) and not flags.get("precompute_ref_log_probs"):
            beside = _load(policy, settings)  # TRL would load it itself, but by the clock
        with side.timed(result):
            trainer = Trainer(
                model=model,
                ref_model=beside,
                args=config,
                train_dataset=datasets.Dataset.from_list(rows),
                processing_class=AutoTokenizer.from_pretrained(policy),
                peft_config=adapters,
            )
            if flags.get("padding_free") and not trainer.padding_free:
                raise NotImplementedError(f"TRL {trl.__version__} switches padding_free off")
            trainer.train()
    per_step = settings["accumulate"]
    steps = [losses[i : i + per_step] for i in range(0, len(losses), per_step)]
    means = [float(torch.stack(step).mean()) for step in steps]
    decided = {name: getattr(config, name) for name in _TOLD}
    return {**result, "losses": means, "flags": _told({**flags, **decided}, model, settings)}


def _flags(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    shared, by_length = settings.get("training", {}), settings.get("by_length", False)
    return {
        "output_dir": str(folder / "trl"),
        "per_device_train_batch_size": settings["batch"],
        "gradient_accumulation_steps": settings["accumulate"],
        "num_train_epochs": 1,
        "learning_rate": shared.get("learning_rate", workload.LEARNING_RATE),
        "beta": workload.BETA,
        "max_length": None,  # no pair is cut
        "use_cpu": not side.on_gpu(),
        "train_sampling_strategy": "group_by_length" if by_length else "sequential",
        "remove_unused_columns": not by_length,  # the lengths are such a column
        "seed": workload.SEED,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        **settings.get("flags", _ON_CPU),
    }


def _load(policy: Path, settings: dict[str, Any]) -> Any:
    """Where it is trained. Trained weights are float32; frozen ones under adapters have the dtype
    that is computed in, which takes half of what TRL takes by default, and is as our side does."""
    import torch
    from transformers import AutoModelForCausalLM

    shared = settings.get("training", {})
    return AutoModelForCausalLM.from_pretrained(
        policy,
        dtype=getattr(torch, shared["compute_dtype"]) if "lora" in shared else torch.float32,
        attn_implementation=settings.get("attention"),
    ).to("cuda" if side.on_gpu() else "cpu")


def _adapters(settings: dict[str, Any]) -> Any:
    """As our side adapts the model (`dpo_core.training.lora`)."""
    lora = settings.get("training", {}).get("lora")
    if lora is None:
        return None
    import peft

    return peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=lora["rank"],
        lora_alpha=lora["alpha"],
        target_modules="all-linear",
    )


def _rows(folder: Path, settings: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((folder / "pairs.json").read_text())
    if settings.get("by_length"):
        for row in rows:
            completion = max(len(row["chosen_ids"]), len(row["rejected_ids"]))
            row["length"] = len(row["prompt_ids"]) + completion
    return rows


def _told(flags: dict[str, Any], model: Any, settings: dict[str, Any]) -> dict[str, Any]:
    """Everything that the setting was run with."""
    other = ("flags", "training", "batch", "accumulate", "by_length")  # among DPOConfig's by now
    return {
        **{name: value for name, value in flags.items() if name != "output_dir"},
        "weights": str(model.dtype).removeprefix("torch."),
        "attention": model.config._attn_implementation,
        **{name: value for name, value in settings.items() if name not in (*other, "attention")},
        **settings.get("training", {}).get("lora", {}),
    }


if __name__ == "__main__":
    side.show(run(Path(sys.argv[1]), json.loads(sys.argv[2])))
