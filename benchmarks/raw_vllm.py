"""vLLM as a user calls it without Ratchet; a child process that benchmarks.sampling compares with.

Requests: {"policy", "dtype", "prompts" (a JSON file of [token ids, seed] pairs), "n", "max_tokens",
"max_model_len", "seeded", "logprobs"}.
"""

import hashlib
import json
import time
from pathlib import Path
from typing import Any

from vllm import LLM, SamplingParams, TokensPrompt

from dpo_core.children import Report, serve


class RawVllm:
    def __init__(self) -> None:
        self.llm: Any = None

    def handle(self, request: dict[str, Any], report: Report) -> dict[str, Any]:
        if self.llm is None:
            self.llm = LLM(
                request["policy"],
                dtype=request["dtype"],
                max_model_len=request["max_model_len"],
                enforce_eager=True,
                enable_chunked_prefill=False,
                generation_config="vllm",
                seed=0,
            )
        asked = json.loads(Path(request["prompts"]).read_text())
        started, cpu_started = time.monotonic(), time.process_time()
        prompts = [TokensPrompt(prompt_token_ids=ids) for ids, _ in asked]
        parameters = [
            SamplingParams(
                n=request["n"],
                seed=seed if request["seeded"] else None,
                max_tokens=request["max_tokens"],
                temperature=1.0,
                logprobs=0 if request["logprobs"] else None,
            )
            for _, seed in asked
        ]
        outputs = self.llm.generate(prompts, parameters, use_tqdm=False)
        seconds, cpu_seconds = time.monotonic() - started, time.process_time() - cpu_started
        tokens = [list(sample.token_ids) for output in outputs for sample in output.outputs]
        return {
            "tokens": sum(map(len, tokens)),
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "sha256": hashlib.sha256(json.dumps(tokens).encode()).hexdigest(),
        }


if __name__ == "__main__":
    serve(RawVllm().handle)
