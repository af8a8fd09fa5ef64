"""What is looked for where nothing about people may be, in every form in which it might stand there."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

_HASHES = ("md5", "sha1", "sha256", "sha512")


class Canaries:
    """Looks for texts. `parts` may stand within others, such as the domain of an address; `whole` are complete, and
    plain hashes of them count, too, as whoever knows an address can tell it by one."""

    def __init__(self, parts: Iterable[str], whole: Iterable[str] = ()) -> None:
        self._forms: dict[bytes, str] = {}
        whole = list(whole)
        for text in (*parts, *whole):
            self._forms |= dict.fromkeys(_encoded(text), text)
        for text in whole:
            self._forms |= dict.fromkeys(_hashed(text), text)

    def within(self, content: bytes | str) -> set[str]:
        """The texts that `content` tells."""
        raw = content.encode(errors="surrogateescape") if isinstance(content, str) else content
        lower = raw.lower()
        return {text for form, text in self._forms.items() if form in raw or form in lower}


def _encoded(text: str) -> Iterator[bytes]:
    plain = text.encode()
    yield plain
    yield text.lower().encode()
    yield text.encode("utf-16-le")
    yield text.encode("utf-16-be")
    yield quote(text, safe="").encode()
    yield quote_plus(text).encode()
    yield plain.hex().encode()
    # As JSON writes it for those who take ASCII alone, and HTML what it escapes.
    yield text.encode("ascii", "backslashreplace")
    yield text.replace("+", "&#43;").replace("@", "&#64;").encode()
    yield from _in_base64(plain)


def _in_base64(plain: bytes) -> Iterator[bytes]:
    """Three forms, by where in a longer text it begins: what is the same whatever stands before and behind."""
    for before in range(3):
        coded = base64.b64encode(bytes(before) + plain)
        inner = coded[(before * 4 + 2) // 3 : (before + len(plain)) * 4 // 3].rstrip(b"=")
        if len(inner) >= 8:
            yield inner
            yield inner.translate(bytes.maketrans(b"+/", b"-_"))


def _hashed(text: str) -> Iterator[bytes]:
    for one in {text, text.lower()}:
        for name in _HASHES:
            digest = hashlib.new(name, one.encode(), usedforsecurity=False).digest()
            yield digest
            yield digest.hex().encode()
            yield base64.b64encode(digest).rstrip(b"=")
            yield base64.urlsafe_b64encode(digest).rstrip(b"=")
