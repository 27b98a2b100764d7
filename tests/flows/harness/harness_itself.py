"""What lm-evaluation-harness makes of a policy without Ratchet: `python -m harness_itself`.

Tasks come from Ratchet, with its data; model, prompts, decoding and scores from the harness.
"""

import json
import sys
from pathlib import Path
from typing import Any


def main(jobs: list[tuple[str, dict[str, Any]]]) -> list[list[dict[str, Any]]]:
    """For each policy and job, per document: its metrics by filter, and what the policy said."""
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM

    from flows.harness.offline import offline
    from flows.harness.suite_task import CheckTask
    from flows.harness.tasks import open_task

    policies = {policy for policy, _ in jobs}
    models = {p: HFLM(pretrained=p, device="cpu", dtype="float32", batch_size=4) for p in policies}
    found = []
    for policy, job in jobs:
        suite = CheckTask.model_validate(job)
        with offline() as place:
            task = open_task(suite, place)
            if suite.config.max_tokens is not None:
                task.config.generation_kwargs["max_gen_toks"] = suite.config.max_tokens
            result = evaluate(
                models[policy],
                {"tasks": {suite.task: task}},
                limit=suite.config.limit,
                bootstrap_iters=0,
                apply_chat_template=suite.chat,
                fewshot_as_multiturn=suite.chat,
            )
        found.append([_told(sample) for sample in result["samples"][suite.task]])
    return found


def _told(sample: dict[str, Any]) -> dict[str, Any]:
    metrics = {name: float(sample[name]) for name in sample["metrics"] if _number(sample[name])}
    return {
        "document": sample["doc_id"],
        "filter": sample["filter"],
        "metrics": metrics,
        "said": [responses[0] for responses in sample["resps"]],
    }


def _number(value: Any) -> bool:
    return not isinstance(value, list | tuple)


if __name__ == "__main__":
    jobs, out = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    out.write_text(json.dumps(main(jobs)))
