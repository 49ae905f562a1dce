"""What may be shown of a URL: everything but the passwords in it."""

from __future__ import annotations

import re
from urllib.parse import unquote_plus

HIDDEN = "***"
_URL = re.compile(r"[A-Za-z][\w+.-]*://\S+?(?=[\"'\]})>.,:]*(?:\s|$))")
_USER = re.compile(r"(://[^:/?#@]*:).*@", re.DOTALL)
_PARAMETER = re.compile(r"([?&])([^=&]*)=([^&]*)")
_SECRET = re.compile(r"pass|pwd|secret|token|key|credential|auth", re.IGNORECASE)


def redacted_url(url: str) -> str:
    """``url`` with ``***`` in place of the password of its user and of each parameter that holds a secret.

    It need not be a proper one: a password with ``/`` or ``@`` that nobody encoded is hidden, too.
    """
    return _PARAMETER.sub(_parameter, _USER.sub(rf"\1{HIDDEN}@", url, count=1))


def redacted(text: str) -> str:
    """``text`` with each URL as ``redacted_url`` shows it: what may hold one goes through here before it is shown."""
    return _URL.sub(lambda found: redacted_url(found[0]), text) if "://" in text else text


def _parameter(found: re.Match[str]) -> str:
    secret = _SECRET.search(unquote_plus(found[2])) and found[3]
    return f"{found[1]}{found[2]}={HIDDEN if secret else found[3]}"
