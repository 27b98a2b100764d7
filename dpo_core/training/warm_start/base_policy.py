"""The base policy π_0: loaded or built, optionally warm-started, and saved for later rounds."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from dpo_core.children import Report
from dpo_core.errors import BadInput, ConfigError
from dpo_core.full_disk import is_out_of_space
from dpo_core.gguf.header import names_gguf
from dpo_core.hashing import policy_id
from dpo_core.import_path import load_function
from dpo_core.tables import write_rows
from dpo_core.training.jobs import BaseJob
from dpo_core.training.metrics.curves import SFT_CURVE, SftCurveRow
from dpo_core.training.results import BaseResult
from dpo_core.training.runtime import VERSIONS, prepare, save_policy
from dpo_core.training.warm_start.sft import fine_tune
from dpo_core.training.warm_start.sft_examples import Example, load_examples


def prepare_base(job: BaseJob, report: Report) -> BaseResult:
    """Write the base policy of `job` to its `out_dir`.

    With a warm start weights are float32; without one they keep their precision, which for a GGUF
    file is float32. Raises BadInput when the model, the function that builds it or the
    rows cannot be used.
    """
    runtime = prepare(job.threads, job.seed, "auto")
    started = time.monotonic()
    with _source(job) as (name, source, revision):
        model, tokenizer = _load(name, source, revision, "auto" if job.sft is None else "float32")
    model = model.to(runtime.device).eval()
    if model.generation_config.eos_token_id is None:
        model.generation_config.eos_token_id = tokenizer.eos_token_id
    built = time.monotonic()

    examples: list[Example] = []
    dropped, curve = Counter[str](), []
    if job.sft is not None:
        examples, dropped = load_examples(job, tokenizer, _longest(model))
        curve = fine_tune(model, examples, job.sft, job.seed, runtime, report)
    write_rows(job.curve_path, curve, SFT_CURVE)
    save_policy(model, tokenizer, job.out_dir)
    return BaseResult(
        **runtime.facts().as_json(),
        policy=policy_id(job.out_dir),
        rows_in=len(examples) + dropped.total(),
        rows_kept=len(examples),
        dropped=dropped,
        steps=len(curve),
        final_loss=_final_loss(curve),
        seconds_build=built - started,
        seconds_sft=time.monotonic() - built,
        versions=VERSIONS,
    )


@contextmanager
def _source(job: BaseJob) -> Iterator[tuple[str, str, str | None]]:
    """(name for messages; folder, GGUF file or hub id; revision) of the initial model."""
    if (job.model is None) == (job.build is None):
        raise ConfigError("policy: give exactly one of model and build")
    if job.model is not None:
        yield job.model, job.model, job.revision
        return
    assert job.build is not None
    build = load_function(job.build)
    job.out_dir.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=job.out_dir.parent, prefix=".build-") as folder:
        try:
            build(Path(folder), job.seed, **job.build_args)
        except Exception as error:
            if is_out_of_space(error):
                raise
            raise BadInput(
                f"{job.build} raised {type(error).__name__}: {error}",
                "It is called as build(out_dir, seed, **policy.build_args).",
            ) from error
        yield f"built by {job.build}", folder, None


def _load(name: str, source: str, revision: str | None, dtype: str) -> tuple[Any, Any]:
    """(model, tokenizer). Raises BadInput with the first line of transformers' error."""
    if names_gguf(source):
        from dpo_core.gguf.load import load_model, load_tokenizer

        return load_model(Path(source)), load_tokenizer(Path(source))
    try:
        # The keyword is left out, because revision=None does not mean the default one.
        options = {} if revision is None else {"revision": revision}
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        model = AutoModelForCausalLM.from_pretrained(source, dtype=dtype, **options)
    except (OSError, ValueError) as error:
        if is_out_of_space(error):
            raise
        raise BadInput(
            f"cannot load the policy {name}: {str(error).strip().splitlines()[0]}",
            "policy.model must be a folder written by save_pretrained, a .gguf file, or a model id "
            "of the Hugging Face hub, which needs network access or an earlier download.",
        ) from error
    return model, tokenizer


def _longest(model: Any) -> int:
    """Longest sequence that the model has positions for, in tokens."""
    return int(getattr(model.config, "max_position_embeddings", None) or torch.iinfo(torch.int).max)


def _final_loss(curve: list[SftCurveRow]) -> float | None:
    """Mean loss of the last tenth of the steps, since a single batch is noisy."""
    last = curve[-max(1, len(curve) // 10) :]
    return sum(row["loss"] for row in last) / len(last) if last else None
