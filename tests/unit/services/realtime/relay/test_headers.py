"""Headers of the handshake come from a file, as JSON or lines; what is wrong is told without what it holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.realtime.relay import headers

EXPECTED = {"Authorization": "Bearer a:b", "X-Key": "k"}


@pytest.mark.parametrize(
    "text",
    [
        '{"Authorization": "Bearer a:b", "X-Key": "k"}',
        "Authorization: Bearer a:b\n\n  X-Key :k\r\n",
    ],
    ids=["json", "lines"],
)
def test_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "h").write_text(text)
    assert headers.read(tmp_path / "h") == EXPECTED


@pytest.mark.parametrize(
    "text",
    [
        "hush",
        '{"a": 1}',
        '{"a": "hush\\r\\nX: y"}',
        "a b: hush",
        ": hush",
        "Host: hush",
        "sec-websocket-key: hush",
        "X: h\x00ush",
        "X: hüsh",
    ],
)
def test_what_does_not_do(tmp_path: Path, text: str) -> None:
    (tmp_path / "h").write_text(text)
    with pytest.raises(ValueError, match=r"^must ") as caught:
        headers.read(tmp_path / "h")
    assert "hush" not in str(caught.value)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot be read \(No such file"):
        headers.read(tmp_path / "none")
    (tmp_path / "h").write_bytes(b"\xff")
    with pytest.raises(ValueError, match="it is not text"):
        headers.read(tmp_path / "h")
