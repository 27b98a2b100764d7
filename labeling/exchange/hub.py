"""Upload folders and files to the Hugging Face hub."""

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dpo_core.errors import BadInput, RatchetError

_TOKEN = "Set HF_TOKEN, or `hf auth login`"


def push_folder(folder: Path, repo: str) -> str:
    """Upload `folder` as the dataset `repo`, private if it is new; returns its URL.

    Uses the token of HF_TOKEN or `hf auth login`. Raises BadInput without a token, RatchetError
    when the hub cannot be reached or refuses.
    """
    again = f"hf upload {shlex.quote(repo)} {shlex.quote(str(folder))} --repo-type dataset"
    with _hub(f"{folder} is written, but", repo, "a dataset: NAME/SET", again) as api:
        api.create_repo(repo, repo_type="dataset", private=True, exist_ok=True)
        api.upload_folder(folder_path=folder, repo_id=repo, repo_type="dataset")
    return f"https://huggingface.co/datasets/{repo}"


def push_model(
    files: Mapping[str, Path | bytes], repo: str, message: str, again: str, *, private: bool
) -> str:
    """Upload `files` (name → content) as one commit of the model `repo`; returns its URL.

    private: visibility of a new repository. again: the command to repeat after an error. Raises as
    `push_folder` does.
    """
    with _hub("nothing was published:", repo, "a model: NAME/MODEL", again) as api:
        from huggingface_hub import CommitOperationAdd

        api.create_repo(repo, private=private, exist_ok=True)
        parts = [CommitOperationAdd(name, content) for name, content in files.items()]
        api.create_commit(repo, parts, commit_message=message)
    return f"https://huggingface.co/{repo}"


@contextmanager
def _hub(state: str, repo: str, named: str, again: str) -> Iterator[Any]:
    """The hub's client; its errors become RatchetErrors whose remedy is the command `again`.

    state: the beginning of their messages, which says what is done already.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    if get_token() is None:
        raise BadInput(f"{state} there is no token to push it with", f"{_TOKEN}; then: {again}")
    try:
        yield HfApi()
    except HFValidationError:
        raise BadInput(
            f"{state} {repo!r} is not a valid name of {named}", f"Then: {again}"
        ) from None
    except HfHubHTTPError as error:
        raise RatchetError(
            f"{state} the hub refused {repo} ({error.response.status_code})",
            f"Check the name and the token's permissions; then: {again}",
        ) from None
    except Exception as error:  # from whichever HTTP library this version of the client uses
        raise RatchetError(
            f"{state} the hub cannot be reached ({type(error).__name__})",
            f"When there is a network: {again}",
        ) from None
