"""`ratchet evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.interrupts import EXIT_INTERRUPTED, interruptible


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

    from flows.operations.evaluate_models.asked import asked, read_judge
    from flows.operations.evaluate_models.run import run

    chosen = [
        f"sampling.engine={engine}",
        f"sampling.max_tokens={max_tokens}",
        f"evaluation.samples_per_prompt={samples}",
        *(overrides or ()),
    ]
    with interruptible(resumable=False):
        try:
            request = asked((model_a, model_b), prompts, read_judge(judge, judge_config), chosen)
            found = run(request, out, Console(stderr=True, soft_wrap=True))
        except KeyboardInterrupt:
            raise typer.Exit(EXIT_INTERRUPTED) from None
    if json:
        from dpo_core.text import printed_json

        print(printed_json(found))
        return
    from flows.operations.evaluate_models.terminal import shown

    console = Console()
    for part in shown(found):
        console.print(part, crop=False, markup=False, highlight=False)
    if out is not None:
        console.print(f"answers and outcomes: {out}", soft_wrap=True, highlight=False)
