"""Run the demo afresh and show what it printed: docs/demo-output.txt whole, README.md its result.

`make readme` runs this. The demo's folder, campaigns/demo, is made anew.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
CAMPAIGN = Path("campaigns/demo")
BEGIN, END = "<!-- demo-output:begin -->", "<!-- demo-output:end -->"
FIRST_LINE = "demo-cpu: finished"
LAST_LINE = "report: "
"""The README shows the output from FIRST_LINE up to this line."""


def main() -> None:
    shutil.rmtree(ROOT / CAMPAIGN, ignore_errors=True)
    ratchet = Path(sys.executable).with_name("ratchet")
    command = [ratchet, "run", "configs/demo-cpu.yaml", "--no-cache", "--campaign-dir", CAMPAIGN]
    environment = {**os.environ, "COLUMNS": "90"}
    ran = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    output = "\n".join(line.rstrip() for line in ran.stdout.splitlines()) + "\n"
    (ROOT / "docs" / "demo-output.txt").write_text(output, encoding="utf-8")
    readme = ROOT / "README.md"
    readme.write_text(with_output(readme.read_text(encoding="utf-8"), output), encoding="utf-8")


def with_output(readme: str, output: str) -> str:
    """`readme` with the result part of `output` between its markers."""
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n```text\n{excerpt(output)}\n```\n{END}{after}"


def excerpt(output: str) -> str:
    """The part of the demo's output that the README shows."""
    return output[output.index(FIRST_LINE) : output.index(LAST_LINE)].strip()


if __name__ == "__main__":
    main()
