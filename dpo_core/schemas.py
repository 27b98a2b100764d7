"""The tables that steps write, as Arrow schemas. A table with typed rows has them in its schema."""

from typing import Literal, TypedDict

import pyarrow as pa

from dpo_core.records import ImportedRow, JudgementRow, LabelRow, PromptRow, ScoreRow
from dpo_core.row_types import Float32, Int32, Messages
from dpo_core.tables import schema_of

PROMPTS = schema_of(PromptRow)
SCORES = schema_of(ScoreRow)
JUDGEMENTS = schema_of(JudgementRow)
LABELS = schema_of(LabelRow)
IMPORTED = schema_of(ImportedRow)


class CompletionRow(TypedDict):
    """An answer that a policy sampled."""

    completion_id: str
    prompt_id: str
    sample_index: Int32
    text: str
    prompt_token_ids: list[Int32]
    token_ids: list[Int32]
    token_logps: list[Float32] | None
    finish_reason: str
    seed: int | None
    policy: str


COMPLETIONS = schema_of(CompletionRow)


PAIRS = pa.schema(
    [
        ("pair_id", pa.string()),
        ("prompt_id", pa.string()),
        ("a", pa.string()),
        ("b", pa.string()),
        ("rule", pa.string()),
        ("margin", pa.float64()),
    ]
)


RELIABILITY = pa.schema(
    [
        ("pair_id", pa.string()),
        ("source", pa.string()),
        ("probability", pa.float64()),  # that people would agree; none: unknown
        ("reliable", pa.bool_()),
    ]
)


ASKED = pa.schema(
    [
        ("record_id", pa.string()),
        ("pair_id", pa.string()),
        ("kind", pa.string()),  # pair, gold or repeat
        ("why", pa.string()),  # the pair was chosen
        ("mode", pa.string()),  # blind or review
        ("answers", pa.int32()),
        ("left_out", pa.bool_()),  # unanswered, and not passed to other judges
    ]
)


PREFERENCES = pa.schema(
    [
        ("pair_id", pa.string()),
        ("prompt_id", pa.string()),
        ("chosen", pa.string()),
        ("rejected", pa.string()),
        ("p_chosen", pa.float64()),
        ("sources", pa.list_(pa.string())),
        ("agreement", pa.float64()),
    ]
)


Answerer = Literal["policy", "opponent"]


class OutcomeRow(TypedDict):
    """A comparison of the round's policy with an opponent.

    outcome: 1: the round's policy won; None: undecided. length_difference: tokens of its answer
    minus tokens of the opponent's. unjudged: the only one whose answer could not be judged.
    """

    opponent: str
    split: str
    prompt_id: str
    sample_index: Int32
    outcome: float | None
    length_difference: Int32
    reason: str
    unjudged: Answerer | None


OUTCOMES = schema_of(OutcomeRow)


MATCHES = pa.schema(  # of a round's policy with those of earlier rounds, on test prompts
    [
        ("first", pa.int32()),  # a round; 0: the base
        ("second", pa.int32()),
        ("prompt_id", pa.string()),
        ("sample_index", pa.int32()),
        ("outcome", pa.float64()),  # 1: the first won
    ]
)


FORGOTTEN = pa.schema(  # test prompts that an earlier round's policy answered better
    [
        ("prompt_id", pa.string()),
        ("prompt", pa.string()),
        ("better_in", pa.int32()),  # a round; 0: the base
        ("outcome", pa.float64()),  # mean against that round's answers, below 0.5
        ("answers", pa.int32()),  # compared
    ]
)


class ScoredRow(TypedDict):
    """A completion whose log-prob is computed."""

    completion_id: str
    prompt_token_ids: list[Int32]
    token_ids: list[Int32]


SCORED = schema_of(ScoredRow)


class ContinuationRow(TypedDict):
    """A text whose likelihood is computed."""

    continuation_id: str
    prompt_id: str
    prompt: str | None
    messages: Messages | None
    continuation: str


CONTINUATIONS = schema_of(ContinuationRow)


class LikelihoodRow(TypedDict):
    """A likelihood. greedy: whether each token was the likeliest."""

    continuation_id: str
    prompt_token_ids: list[Int32]
    token_ids: list[Int32]
    logp: float
    greedy: bool


LIKELIHOODS = schema_of(LikelihoodRow)


LOGPS = pa.schema([("completion_id", pa.string()), ("logp", pa.float64())])


RELEVANCE = pa.schema(
    [
        ("completion_id", pa.string()),
        ("requests", pa.list_(pa.string())),  # prompt_ids, its own first; none for an empty answer
        ("logps", pa.list_(pa.float64())),  # of the answer after each of these, under the base
    ]
)


POLICY_LOGPS = pa.schema([("policy", pa.string()), *LOGPS])


def volatile_columns(schema: pa.Schema) -> list[str]:
    """Columns that differ between equal runs: timestamps, durations, memory, speed."""
    return [f.name for f in schema if (f.metadata or {}).get(b"volatile") == b"true"]
