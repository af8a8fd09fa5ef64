"""Certificates for tests: an authority, and folders of what it signed."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from crown.tls import AUTHORITY, CERTIFICATE, KEY
from stack import certificates


class Authority:
    """An authority of its own, which trusts itself alone."""

    def __init__(self) -> None:
        self._made = certificates.new_authority()

    def folder(self, path: Path, name: str, life: timedelta = certificates.LIFE) -> Path:
        """`path`, with a new certificate for `name` in it. One with a `life` below zero has ended."""
        path.mkdir(parents=True, exist_ok=True)
        certificate, key = certificates.new_part(self._made, name, life)
        for file, text in (
            (CERTIFICATE, certificate),
            (KEY, key),
            (AUTHORITY, certificates.authority(self._made)),
        ):
            (path / file).write_text(text)
        return path
