"""The owner, the workspace, and a check for default passwords."""

from argilla_server.constants import DEFAULT_API_KEY, DEFAULT_PASSWORD
from argilla_server.contexts import accounts
from argilla_server.database import AsyncSessionLocal
from argilla_server.models import User, UserRole, Workspace
from sqlalchemy.ext.asyncio import AsyncSession

from .parent import Refused
from .request import Request

_KNOWN_PASSWORDS = (DEFAULT_PASSWORD, "12345678")  # the second: Argilla's own compose file
_KNOWN_KEYS = (DEFAULT_API_KEY, "owner.apikey", "admin.apikey", "annotator.apikey")


async def prepare(request: Request) -> None:
    """Set up the owner of `credentials.json`, and the workspace.

    Raises Refused when the address is open to others and a user has a default password or key.
    """
    async with AsyncSessionLocal() as db:
        await _prepare_owner(db, request)
        if await Workspace.get_by(db, name=request.workspace) is None:
            await accounts.create_workspace(db, {"name": request.workspace})
        if request.open_to_others:
            for user in await accounts.list_users(db):
                _check(user, request.host)


async def _prepare_owner(db: AsyncSession, request: Request) -> None:
    owner = await accounts.get_user_by_username(db, request.username)
    if owner is None:
        await User.create(
            db,
            first_name=request.username,
            username=request.username,
            role=UserRole.owner,
            api_key=request.api_key,
            password_hash=accounts.hash_password(request.password),
        )
        return
    if owner.api_key != request.api_key:
        await owner.update(db, api_key=request.api_key)
    if not accounts.verify_password(request.password, owner.password_hash):
        await accounts.update_user(db, owner, {"password": request.password})


def _check(user: User, host: str) -> None:
    known = user.api_key in _KNOWN_KEYS or any(
        accounts.verify_password(password, user.password_hash) for password in _KNOWN_PASSWORDS
    )
    if known:
        raise Refused(
            f"user {user.username!r} has a default password or API key, "
            f"which {host} would open to everybody",
            "Change it in the web pages (for the owner, remove credentials.json: the next start "
            "creates new ones), or serve on the loopback address.",
        )
