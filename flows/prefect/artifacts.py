"""What Prefect's UI shows of a round: its table, and the way to the report, as artifacts."""

import re
from collections.abc import Iterator
from dataclasses import replace

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from dpo_core.text import visible
from flows.prefect.report_address import report_link
from flows.session import Session
from reporting.numbers import Row, dropped
from reporting.report import write_report
from reporting.sections import sections
from reporting.sentences import cautions, headline, verdict
from reporting.summary import CampaignSummary, read_summary


def publish_round(session: Session, number: int) -> None:
    """Bring the report up to date and hand the round's numbers to the flow run that is active."""
    summary = read_summary(session.layout.root)
    write_report(summary, session.layout.report)
    row = summary.row(number)
    assert row is not None, "it is finished, or its question is asked"
    key = re.sub(r"[^a-z0-9]+", "-", session.config.name.lower()).strip("-")
    link = report_link(session.layout)
    said = " ".join((verdict(row), *cautions(summary, row)))
    table = [{"number": name, "value": value} for name, value in _numbers(summary, row)]
    create_table_artifact(table, key=f"{key}-round-{number}", description=f"{said} {link}")
    text = f"# {session.config.name}\n\nRound {number}: {said}\n\n{link}\n"
    create_markdown_artifact(text, key=f"{key}-report", description=headline(summary))


def _numbers(summary: CampaignSummary, row: Row) -> Iterator[tuple[str, str]]:
    """The round's numbers as `ratchet status` writes them, one below the other."""
    for section in sections(replace(summary, rounds=(row,))):
        if section.header[0] == "round":
            yield from zip(section.header[1:], section.rows[-1][1:], strict=True)
    for reason, count in dropped(row).items():
        yield f"dropped: {visible(reason)}", f"{count:.0f}"
