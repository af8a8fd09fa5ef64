"""The secrets by which senders know that a webhook comes from us, in the form of Standard Webhooks:
`whsec_` and then base64. Where nobody sets one for a service, it follows from the data key and the service's name."""

from __future__ import annotations

import base64
import binascii
import hmac

from crown.vault import Key

PREFIX = "whsec_"
# What the standard asks of a secret.
_LEAST_BYTES, _MOST_BYTES = 24, 64


def derived(data_key: Key, service: str) -> str:
    """The secret of `service` where none is set."""
    raw = hmac.digest(data_key.raw, f"webhook:{service}".encode(), "sha256")
    return PREFIX + base64.b64encode(raw).decode()


def raw(secret: str) -> bytes:
    """The bytes that sign. Raises ValueError where it is no secret."""
    try:
        found = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        found = b""
    if not secret.startswith(PREFIX) or not _LEAST_BYTES <= len(found) <= _MOST_BYTES:
        raise ValueError("must be whsec_ and then 24 to 64 bytes in base64")
    return found
