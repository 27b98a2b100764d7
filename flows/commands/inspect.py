"""`ratchet status`, `compare`, `evaluate` and `doctor`: commands that change no campaign."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from dpo_core.errors import BadInput
from dpo_core.text import counted, printed_json
from flows.commands.options import (
    EXIT_INTERRUPTED,
    CampaignDir,
    Overrides,
    StoredCampaign,
    find_campaign,
    interruptible,
    set_option,
)


def status(
    campaign: StoredCampaign,
    json: Annotated[
        bool, typer.Option("--json", help="Print the numbers as JSON: docs/status-json.md.")
    ] = False,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Update until the campaign ends or Ctrl-C; into a pipe, print changes line by "
            "line.",
        ),
    ] = False,
) -> None:
    """Show a campaign's rounds as a table.

    For each round: win rates, KL to the base and cost. Works while the campaign runs.
    """
    from dpo_core.text import printed_json
    from reporting.as_json import as_json
    from reporting.summary import read_summary
    from reporting.terminal import render_table

    if json and watch:
        raise BadInput(
            "--json and --watch exclude each other",
            "Give one of them; a program can call --json repeatedly.",
        )
    if watch:
        from reporting.watch import watch as watch_campaign

        with interruptible(resumable=False):
            watch_campaign(campaign, Console())
        return
    summary = read_summary(campaign, samples=False)
    if json:
        print(printed_json(as_json(summary)))
    else:
        Console().print(render_table(summary), crop=False)


def compare(
    campaigns: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of two or more campaigns, or their storage.url.",
            metavar="A B [C…]",
            parser=find_campaign,
        ),
    ],
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Also write a page that works offline."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Compare campaigns, or branches of one, side by side.

    Shows win rates, KL, ratings, lengths and costs with intervals, shared rounds and config
    differences, and warns if win rates are not comparable.
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
        str, typer.Argument(help="Folder, .gguf file or hub id.", metavar="MODEL_A")
    ],
    model_b: Annotated[
        str, typer.Argument(help="Folder, .gguf file or hub id.", metavar="MODEL_B")
    ],
    prompts: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="JSONL or parquet with `prompt` or `messages`, and optional `tags`.",
        ),
    ],
    judge: Annotated[
        str | None, typer.Option(metavar="MODULE:FUNCTION", help="Rule that scores answers.")
    ] = None,
    judge_config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML with a judge section, as in a config.")
    ] = None,
    engine: Annotated[str, typer.Option(help="vllm or transformers.")] = "vllm",
    samples: Annotated[int, typer.Option(help="Answers per model and prompt.")] = 1,
    max_tokens: Annotated[int, typer.Option(help="Longest answer, in tokens.")] = 256,
    overrides: Annotated[
        list[str] | None, set_option("Set a key of sampling, evaluation or prompts")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="New folder for answers and outcomes.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Compare two models on prompts, without a campaign.

    Both answer every prompt with the same seeds. The judge scores answers, or compares pairs in
    both orders. Prints win rate, length-controlled win rate, KL(A‖B), lengths, truncation,
    repetition and slices by tag, with intervals. Writes nothing without --out.
    """
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
            numbers = run(request, out, Console(stderr=True, soft_wrap=True))
        except KeyboardInterrupt:
            raise typer.Exit(EXIT_INTERRUPTED) from None
    if json:
        print(printed_json(numbers.as_json()))
        return
    from reporting.models import format_numbers

    console = Console()
    for part in format_numbers(numbers):
        console.print(part, crop=False, markup=False, highlight=False)
    if out is not None:
        console.print(f"answers and outcomes: {out}", soft_wrap=True, highlight=False)


if TYPE_CHECKING:
    from flows.doctor.examine import Examination

JSON_VERSION = 1


def doctor(
    config: Annotated[
        Path | None,
        typer.Argument(help="YAML config of a campaign; without one, only the machine is checked."),
    ] = None,
    overrides: Overrides = None,
    campaign_dir: CampaignDir = None,
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check whether `ratchet run` would work here.

    Prints what to change if not. Exit code 0: it would work; 2: it would not. Writes nothing.
    `ratchet run` does the fast checks too.
    """
    from dpo_core.campaign.layout import default_root
    from flows.config import load_config
    from flows.doctor.examine import examine

    with interruptible(resumable=False):
        given = overrides or []
        loaded = load_config(config, given, campaign_dir) if config is not None else None
        root = campaign_dir or (default_root(loaded.name) if loaded is not None else None)
        examination = examine(loaded, root)
        print(_as_json(examination) if json else "\n".join(_lines(examination)))
    if not examination.would_run:
        raise typer.Exit(BadInput.exit_code)


def _lines(examination: "Examination") -> Iterator[str]:
    for finding in examination.findings:
        where = f" ({finding.where})" if finding.where else ""
        yield f"{finding.severity:8} {finding.check}: {finding.what}{where}"
        if finding.severity != "ok" and finding.remedy:
            yield f"{'':8}   {finding.remedy}"
    count = sum(finding.severity == "problem" for finding in examination.findings)
    failed = f"{counted(count, 'problem')}: `ratchet run` would not work"
    yield failed if count else "`ratchet run` would work"


def _as_json(examination: "Examination") -> str:
    memory = examination.memory
    return printed_json(
        {
            "version": JSON_VERSION,
            "would_run": examination.would_run,
            "findings": [asdict(finding) for finding in examination.findings],
            "memory_gib": asdict(memory) if memory is not None else None,
        }
    )
