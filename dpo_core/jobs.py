"""Jobs: what a child process is asked to do. Loading this module loads no torch.

A job travels as JSON with the folder that its paths are relative to. So it says the same wherever
that folder, or a copy of it, lies.
"""

from collections.abc import Callable, Mapping
from os.path import abspath
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import ValidationError

from dpo_core.config import Section
from dpo_core.errors import BadInput


class ChildJob(Section):
    """Base of all jobs. Fields of type Path are inputs and outputs.

    Example:
        >>> class Copy(ChildJob):
        ...     source: Path
        >>> job = Copy(source=Path("/campaign/rounds/01/a")).within(Path("/campaign"))
        >>> job.source.as_posix(), job.at(Path("/mnt")).source.as_posix()
        ('rounds/01/a', '/mnt/rounds/01/a')
    """

    def within(self, root: Path) -> Self:
        """The job with paths below `root` relative to it. A path elsewhere, such as a model of the
        user, stays as it is."""
        top = Path(abspath(root))
        whole = self._moved(lambda path: Path(abspath(path)))
        return whole._moved(lambda path: path.relative_to(top) if top in path.parents else path)

    def at(self, root: Path) -> Self:
        """The job with relative paths below `root`."""
        return self._moved(lambda path: root / path)

    def _moved(self, move: Callable[[Path], Path]) -> Self:
        paths = {name: value for name, value in self if isinstance(value, Path)}
        return self.model_copy(update={name: move(path) for name, path in paths.items()})


AnyJob = TypeVar("AnyJob", bound=ChildJob)
Kinds = Mapping[str, type[AnyJob]]
"""op → the class of such jobs."""


def job_kinds(*kinds: type[AnyJob]) -> dict[str, type[AnyJob]]:
    """The classes by the value of their field `op`, which tells them apart on the way."""
    return {kind.model_fields["op"].default: kind for kind in kinds}


def job_request(job: ChildJob, root: Path = Path("/")) -> dict[str, Any]:
    """The request to a child for a job whose files lie below `root`."""
    return {"root": abspath(root), "job": job.within(root).model_dump(mode="json")}


def read_request(request: Mapping[str, Any], kinds: Kinds[AnyJob]) -> AnyJob:
    """The job of a request, with its paths where they lie here.

    Raises BadInput for a job that is none of `kinds`, or lacks something.
    """
    job = request["job"]
    kind = kinds.get(job["op"])
    if kind is None:
        raise BadInput(f"this process knows no job {job['op']!r}, only {', '.join(kinds)}")
    try:
        return kind.model_validate(job).at(Path(request["root"]))
    except ValidationError as error:
        raise BadInput(f"this process cannot read the job {job['op']}: {error}") from None
