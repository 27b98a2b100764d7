"""Sampling with transformers' generate, for machines without vLLM.

B sequences of a batch, T tokens, V vocabulary.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
import transformers
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
)

from dpo_core.tables import batched
from generation.config import SamplingConfig
from generation.engine import DecodingOptions, Likelihood, Sample, SampleRequest, Tick

_BATCH_SEQUENCES = 256
_BATCH_SCORED = 32


class TransformersEngine:
    """An Engine for small models, tests and machines without vLLM."""

    def __init__(self, config: SamplingConfig, policy: Path) -> None:
        self.config = config
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.load(policy)
        limit = int(self._model.config.max_position_embeddings)
        self.max_model_len = min(limit, config.max_model_len or limit)

    def load(self, policy: Path) -> None:
        dtype = getattr(torch, self.config.dtype_on(self.device))
        model = AutoModelForCausalLM.from_pretrained(policy, dtype=dtype)
        self._model = model.to(self.device).eval()
        eos = model.generation_config.eos_token_id
        self._eos = [eos] if isinstance(eos, int) else list(eos or [])
        # `generate` takes unset options from here: a chat model's repetition penalty, for example,
        # would sample from another distribution than the recorded log-probs.
        model.generation_config = GenerationConfig(eos_token_id=self._eos)

    def sample(
        self, requests: Sequence[SampleRequest], tick: Tick, decoding: DecodingOptions | None = None
    ) -> list[list[Sample]]:
        chosen = decoding or DecodingOptions.from_config(self.config)
        rows = [(r.prompt_token_ids, r.seed + i) for r in requests for i in range(r.n)]
        samples: list[Sample] = []
        for batch in batched(rows, _BATCH_SEQUENCES):
            prompts, seeds = [ids for ids, _ in batch], [seed for _, seed in batch]
            samples += self._sample_batch(prompts, seeds, chosen)
            tick(len(batch))
        remaining = iter(samples)
        return [[next(remaining) for _ in range(request.n)] for request in requests]

    def logps(self, prompts: Sequence[list[int]], completions: Sequence[list[int]]) -> list[float]:
        return [likelihood.logp for likelihood in self.likelihoods(prompts, completions)]

    @torch.inference_mode()
    def likelihoods(
        self, prompts: Sequence[list[int]], completions: Sequence[list[int]]
    ) -> list[Likelihood]:
        pairs = list(zip(prompts, completions, strict=True))
        batches = batched(pairs, _BATCH_SCORED)
        return [likelihood for batch in batches for likelihood in self._score_batch(batch)]

    def versions(self) -> dict[str, str]:
        return {"transformers": transformers.__version__, "torch": torch.__version__}

    @torch.inference_mode()
    def _sample_batch(
        self, prompts: list[list[int]], seeds: list[int], decoding: DecodingOptions
    ) -> list[Sample]:
        ids_BT, mask_BT = _left_padded(prompts, self.device)
        chooser = _SeededChoice(seeds, decoding.temperature, decoding.top_p)
        plain = GenerationConfig(
            do_sample=False,  # _SeededChoice adds the noise to the scores
            max_new_tokens=decoding.max_tokens,
            eos_token_id=self._eos,
            pad_token_id=self._eos[0] if self._eos else 0,
        )
        out_BT = self._model.generate(
            input_ids=ids_BT,
            attention_mask=mask_BT,
            generation_config=plain,
            logits_processor=LogitsProcessorList([chooser]),
        )
        logps_BT = torch.stack(chooser.chosen_logps, dim=1).cpu()
        new_BT = out_BT[:, ids_BT.shape[1] :].cpu()
        return [
            self._cut(tokens.tolist(), logps.tolist())
            for tokens, logps in zip(new_BT, logps_BT, strict=True)
        ]

    def _score_batch(self, pairs: list[tuple[list[int], list[int]]]) -> list[Likelihood]:
        longest = max(len(prompt) + len(completion) for prompt, completion in pairs)
        ids_BT = torch.zeros(len(pairs), longest, dtype=torch.long)
        attention_BT = torch.zeros_like(ids_BT)
        scored_BT = torch.zeros(len(pairs), longest, dtype=torch.bool)
        for row, (prompt, completion) in enumerate(pairs):
            end = len(prompt) + len(completion)
            ids_BT[row, :end] = torch.tensor(prompt + completion)
            attention_BT[row, :end] = 1
            scored_BT[row, len(prompt) : end] = True
        ids_BT, scored_BT = ids_BT.to(self.device), scored_BT.to(self.device)
        logits_BTV = self._model(ids_BT, attention_mask=attention_BT.to(self.device)).logits
        logps_BTV = logits_BTV[:, :-1].float().log_softmax(-1)
        logps_BT = logps_BTV.gather(-1, ids_BT[:, 1:, None])[..., 0]
        likeliest_BT = logits_BTV[:, :-1].argmax(-1) == ids_BT[:, 1:]
        greedy_B = (likeliest_BT | ~scored_BT[:, 1:]).all(-1).tolist()
        sums_B = (logps_BT * scored_BT[:, 1:]).sum(-1).tolist()
        return list(map(Likelihood, sums_B, greedy_B))

    def _cut(self, tokens: list[int], logps: list[float]) -> Sample:
        """The tokens up to and including the first EOS, or all when there is none."""
        for position, token in enumerate(tokens):
            if token in self._eos:
                return Sample(tokens[: position + 1], logps[: position + 1], "stop")
        return Sample(tokens, logps, "length")


class _SeededChoice(LogitsProcessor):
    """Turns greedy decoding into sampling with one seed per row.

    The argmax of log p + Gumbel noise is a sample from p (Maddison et al. 2014, arXiv:1411.0030),
    so each row needs only its own noise, and its tokens do not depend on the rest of the batch.
    At temperature 0 decoding stays greedy.
    """

    def __init__(self, seeds: Sequence[int], temperature: float, top_p: float) -> None:
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.temperature = temperature
        self.top_p = top_p
        self.chosen_logps: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        logps_BV = scores.float().log_softmax(-1)
        perturbed_BV = self._perturbed(scores) if self.temperature else scores
        chosen_B1 = perturbed_BV.argmax(-1, keepdim=True)
        self.chosen_logps.append(logps_BV.gather(-1, chosen_B1)[:, 0])
        return perturbed_BV

    def _perturbed(self, scores: torch.Tensor) -> torch.Tensor:
        tempered_BV = _nucleus((scores.float() / self.temperature).log_softmax(-1), self.top_p)
        uniform_BV = torch.stack(
            [
                torch.rand(scores.shape[-1], generator=g, dtype=torch.float64)
                for g in self.generators
            ]
        )
        gumbel_BV = -torch.log(-torch.log(uniform_BV.clamp_min(1e-300)))
        return tempered_BV + gumbel_BV.to(scores.device, torch.float32)


def _nucleus(logps_BV: torch.Tensor, top_p: float) -> torch.Tensor:
    """`logps_BV` with -inf outside the smallest set of tokens with mass `top_p`."""
    if top_p >= 1:
        return logps_BV
    sorted_BV, order_BV = logps_BV.sort(-1, descending=True)
    mass_before_BV = sorted_BV.exp().cumsum(-1) - sorted_BV.exp()
    sorted_BV = sorted_BV.masked_fill(mass_before_BV >= top_p, float("-inf"))
    return torch.full_like(logps_BV, float("-inf")).scatter(-1, order_BV, sorted_BV)


def _left_padded(prompts: Sequence[list[int]], device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids_BT, mask_BT) with every prompt ending at the last column, where generation starts."""
    longest = max(map(len, prompts))
    ids_BT = torch.zeros(len(prompts), longest, dtype=torch.long)
    mask_BT = torch.zeros_like(ids_BT)
    for row, prompt in enumerate(prompts):
        ids_BT[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask_BT[row, longest - len(prompt) :] = 1
    return ids_BT.to(device), mask_BT.to(device)
