"""Objects of a store by their keys, below one URL. The only module that imports obstore.

The store's own chain of credentials is used (environment variables, web identity, the machine's
metadata); none is ever part of a URL.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote, urlsplit

from dpo_core.errors import BadInput, StorageFailed
from dpo_core.install_hint import install

if TYPE_CHECKING:
    from obstore.store import ObjectStore

SCHEMES = ("s3", "gs", "az", "file")
_CHUNK = 8 << 20
"""Bytes of one request, which has 30 seconds."""
_AT_ONCE = 4


class Objects(Protocol):
    """What Ratchet asks of a store. Each method raises StorageFailed, and tries once."""

    def get(self, key: str) -> bytes | None:
        """The object; None if there is none."""
        ...

    def size(self, key: str) -> int | None:
        """Its bytes; None if there is none."""
        ...

    def chunks(self, key: str, size: int) -> Iterator[bytes]:
        """An object of `size` bytes, in pieces."""
        ...

    def put(self, key: str, content: bytes | Path) -> None:
        """Write an object, or the contents of a file, whole or not at all."""
        ...

    def create(self, key: str, content: bytes) -> None:
        """Write an object if there is none of that key. Raises StorageFailed where there is one,
        and also for reasons that leave open whether it was written."""
        ...

    def names(self, folder: str) -> list[str]:
        """Names of the objects directly below `folder`."""
        ...


def check_url(url: str) -> None:
    """Raise ValueError for a URL that names no store, or that holds a secret; never echoes it."""
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise ValueError("must begin with " + ", ".join(f"{scheme}://" for scheme in SCHEMES))
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(
            "must hold no user, password, query or fragment: credentials come from the store's own "
            "chain, such as environment variables"
        )
    if parts.scheme == "file":
        if parts.netloc or not parts.path.strip("/"):
            raise ValueError("must name an absolute folder: file:///path")
    elif not parts.netloc or (parts.scheme == "az" and not parts.path.strip("/")):
        raise ValueError("must name a bucket: s3://bucket/path, az://account/container/path")


def open_objects(url: str, *, make: bool = False) -> Objects:
    """The store at `url`. make: make the folder of a file:// URL, if there is none.

    Raises BadInput where the extra is not installed or the URL is of no use.
    """
    try:
        import obstore.store
    except ImportError:
        raise BadInput(
            "storage.url needs the package obstore",
            f"Install the extra `storage`: {install('storage')}",
        ) from None
    parts = urlsplit(url)
    if parts.scheme == "file":
        folder = Path(unquote(parts.path))
        try:
            if make:
                folder.mkdir(parents=True, exist_ok=True)
            elif not folder.is_dir():
                return _Nothing()
            return _Obstore(obstore.store.LocalStore(folder), url)
        except OSError as error:
            raise BadInput(
                f"storage.url {url} cannot be a folder: {error.strerror}",
                "Name a folder that can be made: --set storage.url=file:///path",
            ) from None
    try:
        opened = obstore.store.from_url(
            url,
            # No client_options: they would replace those of the environment, as AWS_ALLOW_HTTP.
            # What is tried again, and for how long, is decided in dpo_core.storage.bucket.
            retry_config={"max_retries": 1, "retry_timeout": timedelta(seconds=10)},
        )
    except Exception as error:  # each kind of store has its own
        raise BadInput(
            f"storage.url {url} cannot be opened: {_first_line(error)}",
            "Name a bucket that there is, and see that its credentials are in the environment.",
        ) from None
    return _Obstore(opened, url)


class _Obstore:
    def __init__(self, store: "ObjectStore", url: str) -> None:
        self._store = store
        self._url = url

    def get(self, key: str) -> bytes | None:
        import obstore

        with self._failures(f"reading {key}"):
            try:
                return bytes(obstore.get(self._store, key).bytes())
            except FileNotFoundError:
                return None

    def size(self, key: str) -> int | None:
        import obstore

        with self._failures(f"looking for {key}"):
            try:
                return obstore.head(self._store, key)["size"]
            except FileNotFoundError:
                return None

    def chunks(self, key: str, size: int) -> Iterator[bytes]:
        import obstore

        for start in range(0, size, _CHUNK):
            with self._failures(f"reading {key}"):
                end = min(start + _CHUNK, size)
                chunk = bytes(obstore.get_range(self._store, key, start=start, end=end))
            yield chunk

    def put(self, key: str, content: bytes | Path) -> None:
        import obstore

        if isinstance(content, Path) and content.stat().st_size <= _CHUNK:
            content = content.read_bytes()
        with self._failures(f"writing {key}"):
            obstore.put(self._store, key, content, chunk_size=_CHUNK, max_concurrency=_AT_ONCE)

    def create(self, key: str, content: bytes) -> None:
        import obstore

        with self._failures(f"writing {key}"):
            obstore.put(self._store, key, content, mode="create")

    def names(self, folder: str) -> list[str]:
        import obstore

        with self._failures(f"listing {folder}"):
            batches = obstore.list(self._store, f"{folder}/")
            paths = [str(each["path"]) for batch in batches for each in batch]
        return [path.rpartition("/")[2] for path in paths]

    @contextmanager
    def _failures(self, doing: str) -> Iterator[None]:
        """Raise StorageFailed for whatever a store raises. obstore's errors have one base, and
        those for time-outs and the like are Python's own."""
        from obstore import exceptions

        lasting = (
            exceptions.NotSupportedError,
            exceptions.PermissionDeniedError,
            exceptions.UnauthenticatedError,
            exceptions.InvalidPathError,
            exceptions.UnknownConfigurationKeyError,
        )
        try:
            yield
        except (exceptions.BaseError, OSError) as error:
            if isinstance(error, OSError) and error.filename is not None:
                raise  # a file on this machine
            raise StorageFailed(
                f"{doing} failed in {self._url}: {_first_line(error)}",
                "See that it is reachable and that its credentials are in the environment, then "
                "type the same command again; finished steps are kept.",
                lasting=isinstance(error, (*lasting, PermissionError)),
            ) from None


class _Nothing:
    """A folder that is not there: no object, and none can be written."""

    def get(self, key: str) -> bytes | None:
        return None

    def size(self, key: str) -> int | None:
        return None

    def chunks(self, key: str, size: int) -> Iterator[bytes]:
        return iter(())

    def put(self, key: str, content: bytes | Path) -> None:
        raise StorageFailed("the folder is gone", lasting=True)

    def create(self, key: str, content: bytes) -> None:
        raise StorageFailed("the folder is gone", lasting=True)

    def names(self, folder: str) -> list[str]:
        return []


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
