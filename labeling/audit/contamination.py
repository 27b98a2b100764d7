"""Held-out prompts among those trained on: the win rate would praise what was taught."""

from collections import Counter
from collections.abc import Iterator

from dpo_core.hashing import normalise
from dpo_core.records import Prompt, prompt_id
from labeling.audit.config import AuditConfig
from labeling.audit.findings import AuditFinding, excerpt, over, reached, some
from labeling.audit.material import Material


def contaminated(material: Material, config: AuditConfig) -> AuditFinding:
    """A prompt is a held-out one, case and spacing apart."""
    held_out = {key for prompt in material.held_out for key in _ids(prompt)}
    bad = [p for p in material.preferences if held_out.intersection(_ids(p.prompt))]
    examples = some(f"pair {p.pair_id}: prompt {excerpt(p.prompt.shown())}" for p in bad)
    return AuditFinding(
        len(bad), len(material.preferences), "preferences", reached(len(bad)), examples
    )


def held_out_overlap(material: Material, config: AuditConfig) -> AuditFinding:
    """A prompt shares a run of words with a held-out one. A run that several held-out prompts
    contain is their template, and does not count."""
    of_prompts = (set(_runs(prompt, config.overlap_words)) for prompt in material.held_out)
    holders = Counter(run for runs in of_prompts for run in runs)
    shared = {run for run, count in holders.items() if count == 1}
    found = [
        (run, p)
        for p in material.preferences
        if (run := next((r for r in _runs(p.prompt, config.overlap_words) if r in shared), None))
    ]
    count, of = len(found), len(material.preferences)
    because = over(count, of, config.max_overlap_share, "max_overlap_share")
    examples = some(f"pair {p.pair_id}: {excerpt(' '.join(run))}" for run, p in found)
    return AuditFinding(count, of, "preferences", because, examples)


def _ids(prompt: Prompt) -> set[str]:
    """Its id, the id that its words have, and theirs as plain text or as one user message."""
    found = {prompt.prompt_id}
    messages = prompt.messages or ()
    if prompt.text is not None:
        found.add(prompt_id(prompt.text, None))
        found.add(prompt_id(None, ({"role": "user", "content": prompt.text},)))
    elif messages:
        found.add(prompt_id(None, messages))
        if [m["role"] for m in messages] == ["user"]:
            found.add(prompt_id(messages[0]["content"], None))
    return found


def _runs(prompt: Prompt, length: int) -> Iterator[tuple[str, ...]]:
    said = [m["content"] for m in prompt.messages or () if m["role"] != "system"]
    words = normalise(prompt.text if prompt.text is not None else "\n".join(said)).split()
    return (tuple(words[n : n + length]) for n in range(len(words) - length + 1))
