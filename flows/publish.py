"""What Prefect's UI shows of a round: its table and a link to the report, as artifacts."""

from prefect.artifacts import create_link_artifact, create_table_artifact

from flows.prefect_server import REPORT_PATH
from flows.report import write_report
from flows.session import Session
from flows.summary import read_summary


def publish_round(session: Session, number: int) -> None:
    """Bring the report up to date and hand the round's numbers to Prefect."""
    summary = read_summary(session.layout.root)
    write_report(summary, session.layout.report)
    row = next(row for row in summary.rounds if row["round"] == number)
    key = f"{session.config.name}-round-{number}".lower().replace(".", "-").replace("_", "-")
    table = [{"metric": name, "value": _shown(value)} for name, value in row.items()]
    create_table_artifact(key=key, table=table, description=str(row.get("decision", "")))
    create_link_artifact(
        key=f"{key}-report",
        link=REPORT_PATH,
        link_text="report of the campaign",
        description=f"[Report of {session.config.name}]({REPORT_PATH})",
    )


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
