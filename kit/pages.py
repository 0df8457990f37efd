"""Pages of lists that are newest first: the token of the next page says after which id it begins."""

import base64

from kit.errors import InvalidPageToken
from kit.ids import canonical

NEWEST = "ffffffff-ffff-ffff-ffff-ffffffffffff"
"""Above all ids."""


def token(last_id: str) -> str:
    """Returns the token of the page after the one that ends with an id."""
    return base64.urlsafe_b64encode(last_id.encode()).decode()


def read_token(page_token: str) -> str:
    """Returns the id that those of a page are below; NEWEST without a token. Errors: InvalidPageToken."""
    if not page_token:
        return NEWEST
    try:
        return canonical(base64.urlsafe_b64decode(page_token.encode()).decode())
    except ValueError:
        raise InvalidPageToken from None
