"""An exported folder on the Hugging Face hub."""

import shlex
from pathlib import Path

from dpo_core.errors import BadInput, RatchetError


def push_folder(folder: Path, repo: str) -> str:
    """Upload `folder` as the dataset `repo`, made private if it is new; returns its address.

    The token is that of HF_TOKEN or of `hf auth login`. Raises BadInput without one, RatchetError
    when the hub cannot be reached or refuses.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    again = f"hf upload {shlex.quote(repo)} {shlex.quote(str(folder))} --repo-type dataset"
    if get_token() is None:
        raise BadInput(
            f"{folder} is written, but there is no token to push it with",
            f"Set HF_TOKEN, or `hf auth login`; then: {again}",
        )
    try:
        api = HfApi()
        api.create_repo(repo, repo_type="dataset", private=True, exist_ok=True)
        api.upload_folder(folder_path=folder, repo_id=repo, repo_type="dataset")
    except HFValidationError:
        raise BadInput(
            f"{folder} is written, but {repo!r} is no name of a dataset", f"NAME/SET: {again}"
        ) from None
    except HfHubHTTPError as error:
        raise RatchetError(
            f"{folder} is written, but the hub refused {repo} ({error.response.status_code})",
            f"Check the name and the rights of the token; then: {again}",
        ) from None
    except Exception as error:  # of the HTTP library that the client has in this version
        raise RatchetError(
            f"{folder} is written, but the hub cannot be reached ({type(error).__name__})",
            f"When there is a network: {again}",
        ) from None
    return f"https://huggingface.co/datasets/{repo}"
