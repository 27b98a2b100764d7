"""`ratchet` in this process: what it said and how it ended, before any model could be loaded."""

import contextlib
import io
import json
import os
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

import pytest
from oracle import POOL

from flows import cli

JUDGE = "def score(completions):\n    return [0.0 for _ in completions]\n"


PROMPTS = "".join(json.dumps({"prompt": text}) + "\n" for text in POOL)


class Accepted(BaseException):
    """The campaign would begin now: its lock is asked for, which is the first thing written."""


@dataclass(frozen=True)
class Ended:
    """exit code (None: a traceback, "accepted": a campaign would begin) and what was printed."""

    code: int | str | None
    out: str
    error: str

    def assert_refused(self, *places: str) -> None:
        """Exit code 2 and one message that names one of `places`."""
        assert self.code == 2, self
        assert self.error.count("ratchet: ") == 1, self.error
        assert "Traceback" not in self.error and self.out == "", self
        assert not places or any(place in self.error for place in places), (places, self.error)

    def assert_usage(self) -> None:
        """Exit code 2, by the words of the command line's own parser or by ours."""
        assert self.code == 2 and "Traceback" not in self.error, self
        assert self.error.strip(), self


class Workplace:
    """A folder that commands are typed in; `unchanged` says whether they left a trace."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        monkeypatch.chdir(folder)
        monkeypatch.syspath_prepend(folder)
        # What is inherited must not decide what is valid.
        for name in ("PREFECT_API_URL", "ARGILLA_API_URL", "OPENAI_API_KEY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr("flows.run.locked", _accepted)
        (folder / "bad_input_judge.py").write_text(JUDGE)
        (folder / "prompts.jsonl").write_text(PROMPTS)
        self._before = self._seen()

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(
            content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        )
        self._before = self._seen()
        return path

    def ratchet(self, *arguments: str) -> Ended:
        out, error = io.StringIO(), io.StringIO()
        argv, sys.argv = sys.argv, ["ratchet", *arguments]
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
                code = self._code(error)
        finally:
            sys.argv = argv
        left = self._seen() ^ self._before
        assert code == 0 or not left, f"{arguments} left {left}"
        return Ended(code, out.getvalue(), error.getvalue())

    def _code(self, error: io.StringIO) -> int | str | None:
        try:
            cli.main()
        except SystemExit as end:
            return end.code
        except Accepted:
            return "accepted"
        except Exception:
            error.write(traceback.format_exc())
            return None
        return 0

    def _seen(self) -> set[str]:
        return {
            os.path.join(where, name)
            for where, folders, files in os.walk(self.folder)
            for name in (*folders, *files)
            if "__pycache__" not in (*Path(where).parts, name) and ".hypothesis" not in where
        }


def _accepted(*_: object, **__: object) -> object:
    raise Accepted
