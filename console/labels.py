"""The way from the console to the labels that a campaign asks for."""

from starlette.requests import Request

from console.campaigns import ShownCampaign
from console.label_proxy import LabelNames
from dpo_core.campaign.layout import Layout
from flows.config.reading import read_stored_text
from labeling.server.credentials import DEFAULT_FOLDER, read_credentials
from labeling.server.users import sign_in_link


def label_link(shown: ShownCampaign, names: LabelNames, request: Request) -> str:
    """The address of the questions, signed in as the owner of an embedded server; at the console's
    own address where the browser that sent `request` can use it.

    Raises BadInput where that server does not answer.
    """
    assert shown.waiting is not None
    address = shown.waiting.url
    _, config = read_stored_text(Layout(shown.root))
    place = names.folder / str(config.get("people.server_dir") or DEFAULT_FOLDER)
    credentials = read_credentials(place)
    if credentials is None or not credentials.url or not address.startswith(credentials.url):
        return address  # a server elsewhere, with users of its own
    link = sign_in_link(credentials, address.removeprefix(credentials.url))
    here = names.address(place, request)
    return link if here is None else here + link.removeprefix(credentials.url)
