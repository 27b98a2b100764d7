"""Whether a campaign's bucket can hold it."""

from dpo_core.errors import BadInput, StorageFailed
from dpo_core.storage.objects import Objects, open_objects
from flows.config import CampaignConfig
from flows.doctor.findings import DoctorFinding, ok, problem

_KEY, _WHERE = "check/create.json", "storage.url"


def check_storage(config: CampaignConfig) -> DoctorFinding:
    """Whether the bucket answers, takes objects, and refuses to create one that is there. Leaves a
    small object in it."""
    url = config.storage.url
    if url is None:
        return ok("storage", "not asked for: the campaign is in its folder alone", _WHERE)
    try:
        conditional = _creates_once(open_objects(url, make=True))
    except (BadInput, StorageFailed) as error:
        return problem("storage", error.message, _WHERE, error.remedy)
    if not conditional:
        return problem(
            "storage",
            f"{url} writes over an object that is to be created, so two machines could both go on",
            _WHERE,
            "Use a store with conditional writes (S3, Google Cloud Storage, Azure, a local disk): "
            "--set storage.url=URL",
        )
    return ok("storage", f"{url} answers and creates an object once", _WHERE)


def _creates_once(objects: Objects) -> bool:
    for content in (b"1", b"2", b"3"):  # the first is there where this was checked before
        try:
            objects.create(_KEY, content)
            created = True
        except StorageFailed:
            if objects.get(_KEY) is None:
                raise
            created = False
    return not created
