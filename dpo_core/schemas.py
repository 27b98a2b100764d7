"""The tables that steps write, as Arrow schemas."""

from typing import TypedDict

import pyarrow as pa

_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


_MEASURES = pa.list_(
    pa.struct([("name", pa.string()), ("numerator", pa.float64()), ("denominator", pa.float64())])
)


PROMPTS = pa.schema(
    [
        ("prompt_id", pa.string()),
        ("prompt", pa.string()),
        ("messages", _MESSAGES),
        ("extra", pa.string()),
        ("split", pa.string()),
    ]
)


COMPLETIONS = pa.schema(
    [
        ("completion_id", pa.string()),
        ("prompt_id", pa.string()),
        ("sample_index", pa.int32()),
        ("text", pa.string()),
        ("prompt_token_ids", pa.list_(pa.int32())),
        ("token_ids", pa.list_(pa.int32())),
        ("token_logps", pa.list_(pa.float32())),
        ("finish_reason", pa.string()),
        ("seed", pa.int64()),
        ("policy", pa.string()),
    ]
)


SCORES = pa.schema(
    [
        ("completion_id", pa.string()),
        ("source", pa.string()),
        ("score", pa.float64()),
        ("reason", pa.string()),
        ("measures", _MEASURES),
        ("raw", pa.string()),
        ("tokens_in", pa.int64()),
        ("tokens_out", pa.int64()),
        ("money", pa.float64()),
    ]
)


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


JUDGEMENTS = pa.schema(
    [
        ("pair_id", pa.string()),
        ("source", pa.string()),
        ("verdict", pa.string()),
        ("confidence", pa.float64()),
        ("reason", pa.string()),
        ("raw", pa.string()),
        ("forward", pa.string()),
        ("backward", pa.string()),
        ("tokens_in", pa.int64()),
        ("tokens_out", pa.int64()),
        ("money", pa.float64()),
        pa.field("at", pa.timestamp("ms", tz="UTC"), metadata={"volatile": "true"}),
    ]
)


LABELS = pa.schema(
    [
        # The answer's id in Argilla.
        pa.field("label_id", pa.string(), metadata={"volatile": "true"}),
        ("record_id", pa.string()),  # content hash of what was asked
        ("pair_id", pa.string()),
        ("kind", pa.string()),  # pair, gold or repeat
        ("annotator", pa.string()),
        ("verdict", pa.string()),  # in terms of the pair's a and b; none: discarded
        ("expected", pa.string()),  # the known verdict of a gold pair
        ("strength", pa.int32()),
        ("comment", pa.string()),
        ("shown_first", pa.string()),  # a or b
        ("mode", pa.string()),  # blind or review
        ("why", pa.string()),  # the pair was chosen
        pa.field("at", pa.timestamp("ms", tz="UTC"), metadata={"volatile": "true"}),
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


IMPORTED = pa.schema(  # imported preferences, as texts
    [
        ("pair_id", pa.string()),
        ("prompt_id", pa.string()),
        ("prompt", pa.string()),
        ("messages", _MESSAGES),
        ("chosen", pa.string()),
        ("rejected", pa.string()),
        ("p_chosen", pa.float64()),
        ("sources", pa.list_(pa.string())),
        ("agreement", pa.float64()),
    ]
)


OUTCOMES = pa.schema(
    [
        ("opponent", pa.string()),
        ("split", pa.string()),
        ("prompt_id", pa.string()),
        ("sample_index", pa.int32()),
        ("outcome", pa.float64()),  # 1: the round's policy won; none: undecided
        ("length_difference", pa.int32()),  # tokens of its answer minus tokens of the opponent's
        ("reason", pa.string()),
        ("unjudged", pa.string()),  # policy or opponent: only its answer could not be judged
    ]
)


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


SCORED = pa.schema(  # completions whose log-probs are computed
    [
        ("completion_id", pa.string()),
        ("prompt_token_ids", pa.list_(pa.int32())),
        ("token_ids", pa.list_(pa.int32())),
    ]
)


CONTINUATIONS = pa.schema(  # texts whose likelihoods are computed
    [
        ("continuation_id", pa.string()),
        ("prompt_id", pa.string()),
        ("prompt", pa.string()),
        ("messages", _MESSAGES),
        ("continuation", pa.string()),
    ]
)


class ContinuationRow(TypedDict):
    """A row of CONTINUATIONS."""

    continuation_id: str
    prompt_id: str
    prompt: str | None
    messages: list[dict[str, str]] | None
    continuation: str


LIKELIHOODS = pa.schema(
    [
        ("continuation_id", pa.string()),
        ("prompt_token_ids", pa.list_(pa.int32())),
        ("token_ids", pa.list_(pa.int32())),
        ("logp", pa.float64()),
        ("greedy", pa.bool_()),  # whether each token was the likeliest
    ]
)


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
