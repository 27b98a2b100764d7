"""Section `storage`: where else a campaign is, so that it outlives its machine. None of it enters a
fingerprint."""

from pydantic import Field, field_validator

from dpo_core.config import Section
from dpo_core.storage.objects import check_url


class StorageConfig(Section):
    """A bucket that holds the campaign as well."""

    url: str | None = Field(
        None,
        description="folder of an object store for this campaign alone: s3://bucket/path, "
        "gs://bucket/path, az://account/container/path, or file:///path on a shared disk; "
        "credentials come from the store's own chain, never from here",
    )
    lease_s: float = Field(
        60.0, ge=1, description="seconds after which another machine may go on if this one is gone"
    )
    checkpoints: bool = Field(
        False,
        description="checkpoints of training as well, so that a lost machine loses the optimiser "
        "steps since the last one and not the round's",
    )

    @field_validator("url")
    @classmethod
    def _is_of_a_store(cls, url: str | None) -> str | None:
        if url is not None:
            try:
                check_url(url)
            except ValueError as error:  # the URL itself may hold a secret
                raise ValueError(f"storage.url {error}") from None
            return url.rstrip("/")
        return None
