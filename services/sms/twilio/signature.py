"""Whether a call is Twilio's: it signs the address that it calls, with its query, and each parameter of the form,
sorted, under a token of the account. The address is the one that we are reached at, which no proxy has to say.
What it signs holds no time, so that a call can be repeated; whoever takes it makes sure that this does no harm."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import parse_qsl, urlsplit

from crown.errors import SignatureInvalid

SIGNATURE = "x-twilio-signature"
# Names the algorithm where it is not the first one.
SETTINGS = "x-twilio-webhooks-signature-settings"
# What the gateway was asked for, with the query.
PATH = "x-envoy-original-path"

_ALGORITHMS = {"": "sha1", "HMAC_SHA1": "sha1", "HMAC_SHA256": "sha256"}
_PORTS = {"https": 443, "http": 80}
_PARAMETERS_MOST = 200


class TwilioSignature:
    """Checks signatures with `tokens`, of which any may fit; without any, nothing is good."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens = [token.encode() for token in tokens]

    def open(self, url: str, body: bytes, headers: Mapping[str, str]) -> dict[str, str]:
        """The parameters in `body`, each with its first value. `url` is what Twilio called, with the query. Raises
        SignatureInvalid, the same whatever is wrong."""
        form = _form(body)
        algorithm = _ALGORITHMS.get(_named(headers.get(SETTINGS, "")))
        if form is None or algorithm is None or not self._signed(url, form, headers, algorithm):
            raise SignatureInvalid("not signed by Twilio with a token of the account that is set here")
        found: dict[str, str] = {}
        for name, value in form:
            found.setdefault(name, value)
        return found

    def _signed(
        self, url: str, form: list[tuple[str, str]], headers: Mapping[str, str], algorithm: str
    ) -> bool:
        given = headers.get(SIGNATURE, "").encode()
        # A parameter that comes twice with the same value is signed once.
        told = "".join(f"{name}{value}" for name, value in sorted(set(form))).encode()
        wanted = [
            base64.b64encode(hmac.digest(token, address.encode() + told, algorithm))
            for token in self._tokens
            for address in _spellings(url)
        ]
        # All are compared, so that the time tells nothing of which one fits.
        return any([hmac.compare_digest(given, each) for each in wanted])  # noqa: C419


def _form(body: bytes) -> list[tuple[str, str]] | None:
    """The parameters; None where it is no form."""
    try:
        text = body.decode("ascii")
        return parse_qsl(
            text,
            keep_blank_values=True,
            strict_parsing=bool(text),
            errors="strict",
            max_num_fields=_PARAMETERS_MOST,
        )
    except ValueError:
        return None


def _named(settings: str) -> str:
    """The algorithm in `key=…,algorithm=…`; empty where none is named."""
    parts = (part.partition("=") for part in settings.split(","))
    return next((value.strip().upper() for name, _, value in parts if name.strip() == "algorithm"), "")


def _spellings(url: str) -> Iterable[str]:
    """The address with its port and without: Twilio signs now the one and now the other. Empty where there is no
    address."""
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        return ()
    host = parts.netloc if parts.port is None else parts.netloc.removesuffix(f":{parts.port}")
    port = parts.port or _PORTS[parts.scheme]
    return {parts._replace(netloc=netloc).geturl() for netloc in (host, f"{host}:{port}")}
