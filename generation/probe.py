"""Child process of `ratchet doctor` for checks that need torch or a tokenizer; it never samples."""

import shutil
import subprocess
from collections import Counter
from itertools import islice
from pathlib import Path

from dpo_core.bos import find_bos_faults
from dpo_core.children import Report, serve_jobs
from dpo_core.gguf.header import names_gguf
from dpo_core.import_path import load_function
from dpo_core.jobs import JobResult
from dpo_core.model_shape import Shape
from dpo_core.special_tokens import read_special_tokens
from generation.probe_jobs import (
    JOBS,
    Machine,
    MachineFound,
    PolicyFound,
    ProbeJob,
    ProbeMachine,
    ProbePolicy,
    ProbeTokens,
    TokenCounts,
)
from generation.prompts import read_pool

MOST_PROMPTS = 20_000
"""Most prompts to tokenise."""


def probe_machine() -> Machine:
    gpus, driver_cuda = _driver()
    try:
        import torch
    except Exception as error:  # a library that is missing or built for another machine
        reason = f"{type(error).__name__}: {error}"
        return Machine(None, gpus=gpus, driver_cuda=driver_cuda, error=reason)
    usable = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return Machine(torch.__version__, torch.version.cuda, usable, gpus, driver_cuda)


def _driver() -> tuple[tuple[tuple[str, float], ...], str | None]:
    """((name, GiB) of each GPU, the newest CUDA version that the driver supports)."""
    if shutil.which("nvidia-smi") is None:
        return (), None
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    listed = subprocess.run(query, capture_output=True, text=True, check=False)
    output = subprocess.run(["nvidia-smi"], capture_output=True, text=True, check=False).stdout
    rows = [line.rsplit(",", 1) for line in listed.stdout.splitlines() if "," in line]
    cuda = output.partition("CUDA Version:")[2].split()
    gpus = tuple((name, float(mib) / 1024) for name, mib in rows)
    return gpus, cuda[0] if cuda else None


def probe_policy(job: ProbePolicy) -> PolicyFound:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    policy, folder = job.policy, job.policy.model or str(job.out)
    if names_gguf(folder):
        folder = _without_weights(Path(folder), str(job.out))
    if policy.build is not None:
        load_function(policy.build)(job.out, job.seed, **policy.build_args)
    config = AutoConfig.from_pretrained(folder, revision=policy.revision or "main")
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    shape = config.get_text_config()
    heads = shape.num_attention_heads
    return PolicyFound(
        folder=folder,
        shape=Shape(
            parameters=sum(weight.numel() for weight in model.parameters()),
            layers=shape.num_hidden_layers,
            hidden=shape.hidden_size,
            inner=getattr(shape, "intermediate_size", None) or 4 * shape.hidden_size,
            vocabulary=shape.vocab_size,
            kv_heads=getattr(shape, "num_key_value_heads", None) or heads,
            head_dim=getattr(shape, "head_dim", None) or shape.hidden_size // heads,
            positions=getattr(shape, "max_position_embeddings", None),
        ),
    )


def _without_weights(file: Path, out: str) -> str:
    """Write config and tokenizer of a GGUF file to the folder `out`; returns `out`."""
    from dpo_core.gguf.load import load_config, load_tokenizer

    load_config(file).save_pretrained(out)
    load_tokenizer(file).save_pretrained(out)
    return out


def probe_tokens(job: ProbeTokens) -> TokenCounts:
    from generation.sampling import encode_prompt, load_tokenizer

    tokenizer = load_tokenizer(job.folder, job.revision)
    special = read_special_tokens(job.folder)
    lengths, faults = list[int](), Counter[str]()
    for prompt in islice(read_pool(job.prompts), MOST_PROMPTS):
        ids = encode_prompt(tokenizer, prompt)
        lengths.append(len(ids))
        faults.update(find_bos_faults(prompt, ids, special))
    return TokenCounts(
        prompts=len(lengths),
        longest=max(lengths, default=0),
        too_long=sum(length > job.room for length in lengths),
        bos_missing=faults["bos_missing"],
        bos_doubled=faults["bos_doubled"],
    )


def carry_out(job: ProbeJob, report: Report) -> JobResult:
    match job:
        case ProbeMachine():
            return MachineFound(machine=probe_machine())
        case ProbePolicy():
            return probe_policy(job)
    return probe_tokens(job)


if __name__ == "__main__":
    serve_jobs(JOBS, carry_out)
