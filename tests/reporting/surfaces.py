"""Numbers as a reader finds them: on a terminal, in a page, in a model card, in the README."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser

Key = tuple[str, str]
"""(metric, what it is of: a round by its number, "base", or "all" of the campaign)."""

HEADINGS = {
    "Is it better?": {
        "wins vs base": "win_rate_base",
        "wins vs previous": "win_rate_previous",
        "KL to base": "kl_base_nats",
    },
    "What are the answers like?": {
        "mean length": "length_mean",
        "truncated": "truncated_share",
        "score": "score_mean",
    },
    "At what price?": {
        "time": "seconds",
        "CPU time": "cpu_seconds",
        "tokens in": "tokens_in",
        "tokens out": "tokens_out",
        "labels": "labels",
    },
    "Can I trust it?": {"LC wins vs base": "lc_win_rate_base"},
    "All policies on one scale": {"rating": "rating"},
    "Do answers match their prompts?": {
        "relevant": "relevance",
        "nats per token": "base_nats_per_token",
    },
    "How varied are the answers?": {
        "repetition": "repetition_share",
        "distinct words": "distinct_1",
        "distinct pairs": "distinct_2",
        "self-similarity": "self_similarity",
        "refusals": "refusal_share",
    },
    "What was trained": {
        "prompts": "prompts",
        "completions": "completions",
        "pairs kept": "pairs",
        "steps": "steps",
        "loss": "loss",
        "accuracy": "accuracy",
        "margin": "margin",
        "entropy": "entropy",
    },
    "How fast it trained": {
        "tokens/s": "train_tokens_per_second",
        "MFU": "mfu",
        "padding": "padding_share",
        "memory GiB": "train_peak_memory_gib",
    },
}
"""Title of a table → its headings → metric."""

PLOTS = {
    ("Win rate vs. the previous policy", "test"): "win_rate_previous",
    ("Length-controlled win rate", "vs. base"): "lc_win_rate_base",
    ("Rating", "policy"): "rating",
    ("Distance travelled", "from base"): "kl_base_nats",
    ("Score", "policy"): "score_mean",
    ("Length", "policy"): "length_mean",
    ("Truncated", "policy"): "truncated_share",
    ("Relevance", "policy"): "relevance",
    ("Nats per token under the base", "policy"): "base_nats_per_token",
    ("Refusals", "policy"): "refusal_share",
    ("Repetition", "policy"): "repetition_share",
    ("Loss", "policy"): "loss",
    ("Reward accuracy", "policy"): "accuracy",
    ("Margin", "policy"): "margin",
    ("Entropy", "policy"): "entropy",
}
"""(title, series) of a plot → metric."""

CARD = {
    "win rate vs. base": "win_rate_base",
    "length-controlled win rate vs. base": "lc_win_rate_base",
    "win rate vs. the previous policy": "win_rate_previous",
    "rating by the matches of all rounds, logits, base at 0": "rating",
    "KL to the base, nats per completion": "kl_base_nats",
    "mean score by the judge": "score_mean",
    "length, tokens": "length_mean",
    "truncated at the length limit": "truncated_share",
    "answers that match their prompts": "relevance",
    "finished answers under the base, nats per token": "base_nats_per_token",
    "repetition": "repetition_share",
    "refusals": "refusal_share",
}

COMPARED = {
    "Win rate vs. base": "win_rate_base",
    "Length-controlled win rate vs. base": "lc_win_rate_base",
    "Win rate vs. previous policy": "win_rate_previous",
    "Rating": "rating",
    "KL to the base": "kl_base_nats",
    "Mean length": "length_mean",
    "Score": "score_mean",
}

Table = list[list[str]]
Readings = Iterator[tuple[Key, str]]


def terminal_tables(text: str) -> Mapping[str, Table]:
    """Title → rows, the header first; wide enough that no table is folded."""
    tables: dict[str, Table] = {}
    for block in text.split("\n\n"):
        title, *rest = block.strip("\n").splitlines()
        first = next((n for n, line in enumerate(rest) if re.search(r"\S {2,}\S", line)), None)
        if first is not None:
            tables[title.strip()] = [re.split(r" {2,}", line.strip()) for line in rest[first:]]
    return tables


@dataclass
class Page(HTMLParser):
    """The tables of a page, by their captions, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: dict[str, Table] = {}
        self.text = ""
        self._caption = self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag if tag in ("caption", "td", "th", "script", "style") else self._inside
        if tag == "caption":
            self._caption = ""
        if tag == "tr":
            self.tables.setdefault(self._caption, []).append([])
        if tag in ("td", "th"):
            self.tables[self._caption][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        data = data.replace("\u00a0", " ")
        if self._inside == "caption":
            self._caption += data.strip()
        elif self._inside in ("td", "th"):
            self.tables[self._caption][-1][-1] += data.strip()
        if self._inside not in ("script", "style"):
            self.text += data


def status_readings(tables: Mapping[str, Table]) -> Readings:
    """Of the tables that the terminal and the report both show."""
    for title, headings in HEADINGS.items():
        for row in tables.get(title, [])[1:]:
            for heading, cell in zip(tables[title][0], row, strict=True):
                if heading in headings:
                    yield (headings[heading], row[0].removeprefix("r")), cell


def plot_readings(page: Page) -> Readings:
    for caption, rows in page.tables.items():
        title = caption.partition(":")[0]
        for place, series, value in (row for row in rows[1:] if len(row) == 3):
            if (title, series) in PLOTS:
                yield (PLOTS[title, series], place), value


def compare_readings(tables: Mapping[str, Table], column: int) -> Readings:
    """Of the campaign in that column, or row where campaigns have one each."""
    for title, metric in COMPARED.items():
        for row in tables.get(title, [])[1:]:
            yield (metric, row[0].removesuffix(" (shared)")), row[column]
    costs = tables["Cost"]
    for heading, cell in zip(costs[0], costs[column], strict=True):
        if heading in HEADINGS["At what price?"]:
            yield (HEADINGS["At what price?"][heading], "all"), cell


def card_readings(card: str, number: int) -> Readings:
    for line in card.splitlines():
        cells = [cell.strip().replace("\\", "") for cell in line.strip("|").split("|")]
        if cells[0] in CARD and len(cells) == 3:
            yield (CARD[cells[0]], str(number)), cells[1]
            yield (CARD[cells[0]], "base"), cells[2]
        elif cells[0].isdecimal() and len(cells) == 8:
            yield ("win_rate_base", cells[0]), cells[5]
            yield ("kl_base_nats", cells[0]), cells[6]


_RATE = r"-?[\d.]+%(?: \[[^\]]*\])?"


def sentence_readings(text: str) -> Readings:
    """Of the headline and of the three answers below it."""
    text = re.sub(r"\s+", " ", text)
    for number, rate in re.findall(
        rf"Round (\d+) (?:beats|is|wins)[^%]*? (?:of )?({_RATE}) on \d+ held-out", text
    ):
        yield ("win_rate_base", number), rate
        nats = re.search(r"KL to base ([^ ]+) nats", text)
        if nats:
            yield ("kl_base_nats", number), nats[1]
        for pattern, metric in (
            (rf"Win rate vs\. base: ({_RATE})", "win_rate_base"),
            (rf"length-controlled ({_RATE})", "lc_win_rate_base"),
            (rf"vs\. round \d+: ({_RATE})", "win_rate_previous"),
        ):
            for found in re.findall(pattern, text)[:1]:
                yield (metric, number), found
    cost = re.search(
        r"attempts: ([^,]+) of wall time, ([^,]+) of CPU time, ([\d,]+) generated tokens, "
        r"([\d,]+) label",
        text,
    )
    if cost:
        for metric, value in zip(
            ("seconds", "cpu_seconds", "tokens_out", "labels"), cost.groups(), strict=True
        ):
            yield (metric, "all"), value
