"""Documents of our own, each in the format of a task's data."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

IFEVAL = [
    ("Write about tea without commas.", {"punctuation:no_comma": {}}),
    ("Answer in lowercase.", {"change_case:english_lowercase": {}}),
    ("ANSWER IN CAPITALS.", {"change_case:english_capital": {}}),
    ("Give a title in angular brackets.", {"detectable_format:title": {}}),
    (
        "Highlight two parts and write no commas.",
        {
            "detectable_format:number_highlighted_sections": {"num_highlights": 2},
            "punctuation:no_comma": {},
        },
    ),
    (
        "Write fewer than three sentences.",
        {"length_constraints:number_sentences": {"relation": "less than", "num_sentences": 3}},
    ),
    (
        "Write two words in capitals at least.",
        {
            "change_case:capital_word_frequency": {
                "capital_relation": "at least",
                "capital_frequency": 2,
            }
        },
    ),
    ("Wrap it in double quotes.", {"startend:quotation": {}}),
    ("Answer as JSON.", {"detectable_format:json_format": {}}),
    (
        "Write at least 5 words and end with: Bye.",
        {
            "length_constraints:number_words": {"relation": "at least", "num_words": 5},
            "startend:end_checker": {"end_phrase": "Bye."},
        },
    ),
    ("Give 2 bullet points.", {"detectable_format:number_bullet_lists": {"num_bullets": 2}}),
    ("Add a postscript.", {"detectable_content:postscript": {"postscript_marker": "P.S."}}),
    ("Name tea.", {"keywords:existence": {"keywords": ["tea"]}}),
    ("Answer in German.", {"language:response_language": {"language": "de"}}),
]
"""(prompt, instruction → its arguments)"""


def ifeval_rows() -> list[dict[str, Any]]:
    return [
        {
            "key": number,
            "prompt": prompt,
            "instruction_id_list": list(instructions),
            "kwargs": list(instructions.values()),
        }
        for number, (prompt, instructions) in enumerate(IFEVAL)
    ]


GSM8K = [
    {
        "question": f"Ann has {n} nuts and gets {n + 1}. How many?",
        "answer": f"So.\n#### {2 * n + 1}",
    }
    for n in range(8)
]
ARC = [
    {
        "id": f"{n}",
        "question": f"What is {n} plus {n}?",
        "choices": {"text": [f"{n}", f"it is {2 * n}", "nothing"], "label": ["A", "B", "C"]},
        "answerKey": "ABC"[n % 3],
    }
    for n in range(6)
]
LAMBADA = [{"text": f"He put {word} on the table and looked at the {word}"} for word in "abc"]


def write_data(folder: Path) -> dict[str, Path]:
    """task → the folder with its documents."""
    files: dict[str, Mapping[str, Iterable[Mapping[str, Any]]]] = {
        "ifeval": {"input_data": ifeval_rows()},
        "gsm8k": {"train": GSM8K[:6], "test": GSM8K[6:]},
        "arc_easy": {"test": ARC},
        "lambada_openai": {"test": LAMBADA},
    }
    for task, splits in files.items():
        (folder / task).mkdir(parents=True)
        for split, rows in splits.items():
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / task / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    return {task: folder / task for task in files}
