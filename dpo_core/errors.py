"""The errors Ratchet raises deliberately: one small tree, each with a remedy.

RatchetError            exit code 1
├── BadInput            exit code 2: the user's request cannot be carried out
│   ├── ConfigError     a key, value or combination in the config
│   ├── PromptError     a prompt file or a row of it
│   ├── InputGone       a file outside the campaign, which a step was made from, is missing
│   ├── LabelsError     labels, or a file of preferences, that cannot be used
│   └── CampaignLocked  another process is running this campaign
├── ArtifactCorrupted   a file differs from what the ledger recorded
├── ChildDied           a sampling or training process ended without a result
├── ChildFailed         a sampling or training process reported an error
├── DiskFull            a write failed for lack of space
├── DiskFailed          the disk did not do what it was asked for
├── Interrupted         a process stopped when asked to, and saved its work
├── JudgeError          a judge raised, or its endpoint refuses
│   ├── EndpointFailed  a judge's endpoint did not answer
│   └── NotRemembered   replies are not stored, and their endpoint must not be asked
├── BudgetSpent         a judge has spent its budget
├── WaitingForPeople    exit code 75: labels from people are missing; nothing is wrong
├── AuditFailed         the preferences of a round must not be trained on
├── InvariantViolated   a correctness check of the round failed
├── StorageFailed       the object store of a campaign does not answer, or refuses
├── TakenOver           another machine went on with this campaign
├── LabelServerFailed   Argilla did not start, or did not answer
└── ServerFailed        the Prefect server did not start
"""


class RatchetError(Exception):
    """Base of all errors with a message for people. `remedy` says what to run or change next."""

    exit_code = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def shown(self) -> str:
        """The error as the command line prints it."""
        return f"ratchet: {self.message}" + (f"\n  {self.remedy}" if self.remedy else "")

    def __str__(self) -> str:
        return f"{self.message}\n{self.remedy}" if self.remedy else self.message


class BadInput(RatchetError):
    exit_code = 2


class ConfigError(BadInput):
    pass


class PromptError(BadInput):
    pass


class InputGone(BadInput):
    pass


class LabelsError(BadInput):
    pass


class CampaignLocked(BadInput):
    pass


class ArtifactCorrupted(RatchetError):
    pass


class ChildDied(RatchetError):
    pass


class ChildFailed(RatchetError):
    """deliberate: the child raised an error of this tree, so a retry would raise it again."""

    deliberate = False


class DiskFull(RatchetError):
    pass


class DiskFailed(RatchetError):
    pass


class Interrupted(RatchetError):
    pass


class JudgeError(RatchetError):
    pass


class EndpointFailed(JudgeError):
    pass


class NotRemembered(JudgeError):
    pass


class BudgetSpent(RatchetError):
    pass


class WaitingForPeople(RatchetError):
    """message: where to label, and how many labels are missing, in one sentence."""

    exit_code = 75


class AuditFailed(RatchetError):
    pass


class InvariantViolated(RatchetError):
    pass


class StorageFailed(RatchetError):
    """lasting: another attempt would fail the same way."""

    def __init__(self, message: str, remedy: str = "", *, lasting: bool = False) -> None:
        super().__init__(message, remedy)
        self.lasting = lasting


class TakenOver(RatchetError):
    pass


class LabelServerFailed(RatchetError):
    pass


class ServerFailed(RatchetError):
    pass
