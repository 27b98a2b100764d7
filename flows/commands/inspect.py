"""`ratchet status`: a campaign's numbers, once, as JSON, or as they come."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from dpo_core.errors import BadInput
from flows.commands.options import EXIT_INTERRUPTED, Campaign, CampaignDir, Overrides, interruptible


def status(
    campaign: Campaign,
    json: Annotated[
        bool, typer.Option("--json", help="Print the numbers as JSON: docs/status-json.md.")
    ] = False,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Show them as they come, until the campaign ends or Ctrl-C; into a pipe, what "
            "changes, line by line.",
        ),
    ] = False,
) -> None:
    """Show a campaign's rounds as a table.

    Is each round better, at what distance, at what cost; readable while the campaign runs.
    """
    from dpo_core.text import printed_json
    from reporting.as_json import as_json
    from reporting.summary import read_summary
    from reporting.terminal import render_table

    if json and watch:
        raise BadInput(
            "--json prints once, and --watch goes on",
            "Leave one of them out; a program may ask for --json again and again.",
        )
    if watch:
        _watch(campaign)
        return
    summary = read_summary(campaign, samples=False)
    if json:
        print(printed_json(as_json(summary)))
    else:
        Console().print(render_table(summary), crop=False)


def _watch(campaign: Path) -> None:
    from flows.commands.options import interruptible
    from reporting.watch import watch

    with interruptible(resumable=False):
        watch(campaign, Console())


def compare(
    campaigns: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of two or more campaigns.", metavar="A B [C…]", show_default=False
        ),
    ],
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Also write a page that works offline."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Show campaigns, or branches of one, side by side.

    Win rates, KL, ratings, lengths and costs with their intervals, which rounds they share, and
    where their configs differ; with a warning where win rates cannot be compared.
    """
    from reporting.compare.render import write_page
    from reporting.compare.sides import read_comparison

    comparison = read_comparison(campaigns)
    if html is not None:
        write_page(comparison, html)
    if json:
        from dpo_core.text import printed_json
        from reporting.compare.render import as_json

        print(printed_json(as_json(comparison)))
        return
    from rich.console import Console

    from reporting.compare.render import render_comparison

    console = Console()
    console.print(render_comparison(comparison), crop=False)
    if html is not None:
        console.print(f"page: {html}", soft_wrap=True, highlight=False)


def evaluate(
    model_a: Annotated[
        str,
        typer.Argument(help="Folder, .gguf file or hub id.", metavar="MODEL_A", show_default=False),
    ],
    model_b: Annotated[
        str,
        typer.Argument(help="Folder, .gguf file or hub id.", metavar="MODEL_B", show_default=False),
    ],
    prompts: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="JSONL or parquet with `prompt` or `messages`, and tags if you like.",
            show_default=False,
        ),
    ],
    judge: Annotated[
        str | None,
        typer.Option(metavar="MODULE:FUNCTION", help="A rule that scores answers."),
    ] = None,
    judge_config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="YAML with a judge section, as in a campaign."),
    ] = None,
    engine: Annotated[str, typer.Option(help="vllm or transformers.")] = "vllm",
    samples: Annotated[int, typer.Option(help="Answers of each model to each prompt.")] = 1,
    max_tokens: Annotated[int, typer.Option(help="Longest answer.")] = 256,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A key of sampling, evaluation or prompts; repeatable.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="New folder for answers and outcomes.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Compare any two models on prompts, without a campaign.

    Both answer every prompt with the same seeds; the judge reads pairs in both orders, or scores.
    Win rate, win rate at equal lengths, KL(A‖B), lengths, truncation, repetition, slices by tag,
    each with its interval. Nothing is written but with --out.
    """
    from rich.console import Console

    from flows.operations.evaluate_models.request import check_request, read_judge
    from flows.operations.evaluate_models.run import run

    chosen = [
        f"sampling.engine={engine}",
        f"sampling.max_tokens={max_tokens}",
        f"evaluation.samples_per_prompt={samples}",
        *(overrides or ()),
    ]
    with interruptible(resumable=False):
        try:
            request = check_request(
                (model_a, model_b), prompts, read_judge(judge, judge_config), chosen
            )
            found = run(request, out, Console(stderr=True, soft_wrap=True))
        except KeyboardInterrupt:
            raise typer.Exit(EXIT_INTERRUPTED) from None
    if json:
        from dpo_core.text import printed_json

        print(printed_json(found))
        return
    from flows.operations.evaluate_models.terminal import format_numbers

    console = Console()
    for part in format_numbers(found):
        console.print(part, crop=False, markup=False, highlight=False)
    if out is not None:
        console.print(f"answers and outcomes: {out}", soft_wrap=True, highlight=False)


if TYPE_CHECKING:
    from flows.doctor.examine import Examination

JSON_VERSION = 1
_WOULD_NOT = 2


def doctor(
    config: Annotated[
        Path | None,
        typer.Argument(help="YAML config of a campaign; without one only the machine is examined."),
    ] = None,
    overrides: Overrides = None,
    campaign_dir: CampaignDir = None,
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Say whether `ratchet run` would work here, and what to change if not.

    Exit code 0: it would; 2: it would not. Writes nothing; `ratchet run` does the cheap part of it.
    """
    from dpo_core.campaign.layout import default_root
    from flows.config import load_config
    from flows.doctor.examine import examine

    with interruptible(resumable=False):
        given = overrides or []
        loaded = load_config(config, given, campaign_dir) if config is not None else None
        root = campaign_dir or (default_root(loaded.name) if loaded is not None else None)
        found = examine(loaded, root)
        print(_as_json(found) if json else "\n".join(_lines(found)))
    if not found.would_run:
        raise typer.Exit(_WOULD_NOT)


def _lines(found: "Examination") -> Iterator[str]:
    for finding in found.findings:
        where = f" ({finding.where})" if finding.where else ""
        yield f"{finding.severity:8} {finding.check}: {finding.what}{where}"
        if finding.severity != "ok" and finding.remedy:
            yield f"{'':8}   {finding.remedy}"
    problems = sum(finding.severity == "problem" for finding in found.findings)
    yield "`ratchet run` would work" if not problems else f"{problems} problem(s): it would not run"


def _as_json(found: "Examination") -> str:
    from dpo_core.text import printed_json

    told = {
        "version": JSON_VERSION,
        "would_run": found.would_run,
        "findings": [asdict(finding) for finding in found.findings],
        "memory_gib": asdict(found.memory) if found.memory is not None else None,
    }
    return printed_json(told)
