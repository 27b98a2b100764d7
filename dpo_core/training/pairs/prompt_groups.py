"""Completions of a file grouped by prompt; groups are built on access."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

from dpo_core.tables import read_columns
from dpo_core.training.pairs.batching import Completions
from dpo_core.training.pairs.pair_files import TokenLists


class PromptGroups(Sequence[Completions]):
    """The non-empty completions of a file (schema SCORED) in groups of one prompt.

    A group holds as many completions as fit into `budget` tokens, but at least one. ids: of all
    completions, in the file's order. Token ids are in memory, four bytes each.
    """

    def __init__(self, file: Path, budget: int) -> None:
        table = read_columns(file, ["completion_id", "prompt_token_ids", "token_ids"])
        self.ids: list[str] = table["completion_id"].to_pylist()
        names = "prompt_token_ids", "token_ids"
        self._prompts, self._completions = (TokenLists(table[n].combine_chunks()) for n in names)
        self._rows = list(self._group_rows(budget))

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Completions: ...
    @overload
    def __getitem__(self, index: slice) -> list[Completions]: ...
    def __getitem__(self, index: int | slice) -> Completions | list[Completions]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        rows = self.rows(number := range(len(self))[index])
        prompt = self._prompts[rows[0]].tolist()
        return Completions(f"{number:09}", prompt, [self._completions[r].tolist() for r in rows])

    def rows(self, group: int) -> list[int]:
        """Rows of the file that hold a group's completions."""
        return self._rows[group]

    @property
    def all_have_prompts(self) -> bool:
        """Whether every completion has a prompt token that predicts its first token."""
        return all(len(self._prompts[rows[0]]) for rows in self._rows)

    def _group_rows(self, budget: int) -> Iterator[list[int]]:
        """Yield the rows of each group, prompts in the file's order."""
        by_prompt: dict[bytes, list[int]] = {}
        for row in range(len(self.ids)):
            if len(self._completions[row]):
                by_prompt.setdefault(self._prompts[row].tobytes(), []).append(row)
        for rows in by_prompt.values():
            yield from self._in_budget(rows, budget - len(self._prompts[rows[0]]))

    def _in_budget(self, rows: Sequence[int], room: int) -> Iterator[list[int]]:
        part, tokens = list[int](), 0
        for row in rows:
            count = len(self._completions[row])
            if part and tokens + count > room:
                yield part
                part, tokens = [], 0
            part.append(row)
            tokens += count
        yield part
