"""Rounds whose policies only exist as answers: what the step `evaluation` makes of them is real."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from zlib import crc32

from record_session import Records, open_session

from dpo_core.campaign.artifacts import Artifact
from dpo_core.campaign.round_metrics import RoundMetrics
from dpo_core.records import Prompt, prompt_row
from dpo_core.schemas import COMPLETIONS, POLICY_LOGPS, PREFERENCES, PROMPTS
from flows.evaluation.held_out import Opponents
from flows.round_state import EvaluatedPolicy, Policy, RoundPreferences, RoundRecord, SuiteAnswers
from flows.session import Session
from flows.steps.evaluate import RoundEvaluation, evaluate
from flows.steps.score import score

Texts = Mapping[str, str]
"""prompt_id → what a policy answers"""

WORTH = {"function": "told_by_text:worth"}
LENGTH = {"function": "told_by_text:length"}
LONGER = {"function": "told_by_text:longer", "gives": "verdict"}


class Synthetic:
    """A campaign with as many rounds as are added. Every candidate is promoted unless told."""

    def __init__(self, root: Path, prompts: Sequence[Prompt], base: Texts, **sections: Any) -> None:
        evaluation = {"bootstrap_resamples": 400, **sections.pop("evaluation", {})}
        sections = {"judge": WORTH, "evaluation_judge": None, **sections}
        self.session: Session = open_session(root, evaluation=evaluation, **sections)
        self.records = Records(self.session)
        self.prompts = prompts
        rows = [prompt_row(prompt) for prompt in prompts]
        self.held_out = self.records.write(0, "held_out", rows, PROMPTS, prompts=(rows, PROMPTS))
        self.base = self.previous = self._answered(0, base, {})
        self.earlier: list[RoundRecord] = []

    def play(
        self,
        texts: Texts,
        suites: Mapping[str, Texts] | None = None,
        promoted: bool = True,
        agreement: Mapping[str, Any] | None = None,
        train: Sequence[Prompt] = (),
        logratio: float = 0.0,
    ) -> dict[str, Any]:
        """The numbers of a round whose policy answers so."""
        number = len(self.earlier) + 1
        candidate = self._answered(number, texts, suites or {})
        own = self._preferred(number, agreement or {}, train)
        others = Opponents(self.previous, self.base, self.previous.policy)
        logps = self._logps(number, candidate, others, logratio)
        compared = (candidate, others, logps, self.held_out, own, list(self.earlier))
        made = evaluate(self.session, RoundEvaluation(number, *compared))
        steps = {**own.steps(), **candidate.steps(), "evaluation": made}
        self.earlier.append(RoundRecord(steps, self.previous.policy))
        if promoted:
            self.previous = candidate
        self.made = made
        found: dict[str, Any] = json.loads(made.path("evaluation.json").read_text())
        return found

    def _answered(self, number: int, texts: Texts, suites: Mapping[str, Texts]) -> EvaluatedPolicy:
        rows = [self.completion(number, prompt, text) for prompt, text in texts.items()]
        answers = self.records.write(
            number, "answers", rows, COMPLETIONS, completions=(rows, COMPLETIONS)
        )
        config = self.session.config
        scores = score(self.session, number, answers, self.held_out, config.held_out_judge)
        trained_by = None
        if config.evaluation_judge is not None:
            step = "answer_training_scores"
            trained_by = score(self.session, number, answers, self.held_out, config.judge, step)
        policy = Policy(number, f"policy {number}", Path("/nowhere"), answers)
        found = {name: self._suite(number, name, texts) for name, texts in suites.items()}
        return EvaluatedPolicy(policy, answers, scores, trained_by, found)

    def add_suites(self, suites: Mapping[str, Texts]) -> None:
        """The base's answers to them."""
        found = {name: self._suite(0, name, texts) for name, texts in suites.items()}
        self.base = self.previous = replace(self.base, suites=found)

    def _suite(self, number: int, name: str, texts: Texts) -> SuiteAnswers:
        rows = [self.completion(number, prompt, text) for prompt, text in texts.items()]
        prompts = [prompt_row(Prompt(p, text=p, split="test")) for p in texts]
        answers = self.records.write(
            number,
            f"suite_{name}",
            rows,
            COMPLETIONS,
            completions=(rows, COMPLETIONS),
            prompts=(prompts, PROMPTS),
        )
        judge = self.session.config.evaluation.suites[name].judge
        scores = score(self.session, number, answers, answers, judge, f"suite_{name}_scores")
        assert scores is not None
        return SuiteAnswers(answers, scores)

    def _preferred(
        self, number: int, agreement: Mapping[str, Any], train: Sequence[Prompt]
    ) -> RoundPreferences:
        rows = [prompt_row(prompt) for prompt in train]
        prompts = self.records.write(number, "prompts", rows, PROMPTS)
        made = self.records.write(number, "preferences", [], PREFERENCES)
        entry = replace(made.entry, facts={"agreement": agreement})
        return RoundPreferences(made, replace(made, entry=entry), prompts)

    def _logps(
        self, number: int, candidate: EvaluatedPolicy, others: Opponents, logratio: float
    ) -> Artifact:
        """As if each answer were likelier under the candidate by `logratio` nats than under others,
        its log-prob being −2."""
        ids = [_id(number, prompt.prompt_id) for prompt in self.prompts]
        rows = [
            {"policy": policy, "completion_id": i, "logp": -2.0 - logratio}
            for policy in {p.id for p in others.policies.values()}
            for i in ids
        ]
        return self.records.write(
            number, "answer_logps", rows, POLICY_LOGPS, logps=(rows, POLICY_LOGPS)
        )

    def completion(self, number: int, prompt: str, text: str) -> dict[str, Any]:
        tokens = [crc32(word.encode()) >> 1 for word in text.split()]  # 31 bits, as token ids have
        return {
            "completion_id": _id(number, prompt),
            "prompt_id": prompt,
            "sample_index": 0,
            "text": text,
            "token_ids": tokens,
            "token_logps": [-2.0 / len(tokens)] * len(tokens),
            "finish_reason": "stop",
        }


def asked(count: int, **extra: Sequence[Any]) -> list[Prompt]:
    """Test prompts p0, p1, …; extra: a field of each."""
    fields = [{name: values[n] for name, values in extra.items()} for n in range(count)]
    return [
        Prompt(f"p{n}", text=f"prompt {n}", extra=fields[n], split="test") for n in range(count)
    ]


def says(worths: Sequence[float | None], words: Sequence[int] | None = None) -> dict[str, str]:
    """Answers that say their worth (None: do not), padded to so many words."""
    texts = ["nothing" if worth is None else f"worth {worth:g}" for worth in worths]
    sizes = words or [4] * len(texts)
    return {
        f"p{n}": f"{t} {'word ' * (size - 2)}".strip()
        for n, (t, size) in enumerate(zip(texts, sizes, strict=True))
    }


def _id(number: int, prompt: str) -> str:
    return f"{number}/{prompt}"


def measured(numbers: Mapping[str, Any]) -> RoundMetrics:
    """The numbers of an evaluation, as the gate of a first round reads them."""
    return RoundMetrics.model_validate({"round": 1, **numbers})
