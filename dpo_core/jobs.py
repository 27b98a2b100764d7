"""Jobs: what a child process is asked to do, and what it hands back. Loads no torch.

A job travels as JSON with the folder that its paths are relative to. So it says the same wherever
that folder, or a copy of it, lies. Its class names the class of its result.
"""

from collections.abc import Callable, Mapping
from os.path import abspath
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Self, TypedDict, TypeVar

from pydantic import Field, ValidationError

from dpo_core.config import Section
from dpo_core.errors import BadInput
from dpo_core.step_facts import StepFacts

Lifetime = Literal["auto", "campaign", "step"]
"""How long a process stays: to the campaign's end, or that of a step. auto: as long as no other
process needs its device."""


class JobResult(StepFacts):
    """What a child hands back for a job: facts, which a step may record.

    gpus: that the process holds. seconds_start: for starting the process and loading its model.
    versions: of the libraries that did the work; a step records them apart from its facts.
    """

    gpus: int = 0
    seconds_start: float = 0.0
    versions: dict[str, str] = Field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude_unset=True, exclude={"versions"})

    def as_answer(self) -> dict[str, Any]:
        """What travels to the parent: the fields that were given."""
        return self.model_dump(mode="json", exclude_unset=True)

    def started_in(self, seconds: float) -> Self:
        """The result, with the seconds that starting its process took."""
        return self.model_copy(update={"seconds_start": self.seconds_start + seconds})


Result = TypeVar("Result", bound=JobResult, covariant=True)


class ChildJob(Section, Generic[Result]):
    """Base of all jobs. Fields of type Path are inputs and outputs.

    Example:
        >>> class Copied(JobResult):
        ...     files: int = 0
        >>> class Copy(ChildJob[Copied]):
        ...     source: Path
        >>> job = Copy(source=Path("/campaign/rounds/01/a")).within(Path("/campaign"))
        >>> job.source.as_posix(), job.at(Path("/mnt")).source.as_posix()
        ('rounds/01/a', '/mnt/rounds/01/a')
        >>> job.read_result({"files": 2}).files
        2
    """

    writes: ClassVar[frozenset[str]] = frozenset({"out"})
    """Names of the paths that a job writes, files or folders; it reads the others."""
    stays: ClassVar[frozenset[str]] = frozenset()
    """Names of paths that are of use on the machine of the process alone."""

    keep_worker: Lifetime = Field("auto", exclude=True)  # steers no result: the child is not told

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

    @property
    def devices(self) -> int | Literal["all"]:
        """GPUs that it needs, where there are any; 0: those that its process holds already."""
        return 1

    @property
    def lifetime(self) -> Lifetime:
        """Whether its process may be kept for the next job."""
        return self.keep_worker

    def read_result(self, answer: Mapping[str, object]) -> Result:
        """The child's answer, as the result that the job's class names."""
        jobs = (kind for kind in type(self).__mro__ if issubclass(kind, ChildJob))
        named = (job.__pydantic_generic_metadata__["args"] for job in jobs)
        kind: type[Result] = next(args[0] for args in named if args)
        return kind.model_validate(answer)


AnyJob = TypeVar("AnyJob", bound=ChildJob[JobResult])
Kinds = Mapping[str, type[AnyJob]]
"""op → the class of such jobs."""


def job_kinds(*kinds: type[AnyJob]) -> dict[str, type[AnyJob]]:
    """The classes by the value of their field `op`, which tells them apart on the way."""
    return {kind.model_fields["op"].default: kind for kind in kinds}


class JobRequest(TypedDict):
    """A job on its way to a child. root: the folder that its relative paths are below."""

    root: str
    job: dict[str, Any]


def job_request(job: ChildJob[JobResult], root: Path = Path("/")) -> JobRequest:
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
