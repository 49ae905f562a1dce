"""What may be shown of a URL: everything but the passwords in it."""

from __future__ import annotations

import re
from urllib.parse import unquote_plus

HIDDEN = "***"
_URL = re.compile(r"://\S+")  # after the scheme
_AFTER = "\"'])}>.,:;"  # may stand after a URL in a text
_PARAMETER = re.compile(r"([?&])([^=&?]*)=([^&]*)")
_SECRET = re.compile(r"pass|pwd|secret|token|key|credential|auth", re.IGNORECASE)


def redacted_url(url: str) -> str:
    """``url`` with ``***`` in place of the password of its user and of each parameter that holds a secret.

    It need not be a proper one: a password with ``/`` or ``@`` that nobody encoded is hidden, too.
    """
    scheme, mark, rest = url.partition("://")
    user, _, place = rest.rpartition("@")
    name, colon, _ = user.partition(":")
    if colon and not set(name) & set("/?#"):
        rest = f"{name}:{HIDDEN}@{place}"
    return _PARAMETER.sub(_parameter, scheme + mark + rest)


def redacted(text: str) -> str:
    """``text`` with each URL as ``redacted_url`` shows it: what may hold one goes through here before it is shown."""
    return _URL.sub(_shown, text)


def _shown(found: re.Match[str]) -> str:
    url = found[0].rstrip(_AFTER)
    return redacted_url(url) + found[0][len(url) :]


def _parameter(found: re.Match[str]) -> str:
    hidden = found[3] and _SECRET.search(unquote_plus(found[2]))
    return f"{found[1]}{found[2]}={HIDDEN if hidden else found[3]}"
