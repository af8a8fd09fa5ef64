"""WebSocket as bytes, from the client's side and no more than load needs: what a client writes can be made ahead,
and what it reads may be cut anywhere."""

from __future__ import annotations

# Every handshake may show the same key, and every frame be masked with nothing: servers cannot tell.
_KEY = "Y3Jvd24gYmVuY2htYXJrIQ=="
_MASKED = 0x80
_NO_MASK = bytes(4)
_TEXT = 0x81
_HEAD_END = b"\r\n\r\n"


def request(host: str, path: str) -> bytes:
    """The handshake of a client."""
    lines = (
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {_KEY}",
    )
    return "\r\n".join((*lines, "\r\n")).encode()


def answer(heard: bytes) -> tuple[bool, bytes] | None:
    """Whether the server let the client in, and what came behind its answer; None while that is not whole."""
    head, end, rest = heard.partition(_HEAD_END)
    return (head.startswith(b"HTTP/1.1 101 "), rest) if end else None


def said(text: bytes) -> bytes:
    """`text` as a client's frame; it has to be shorter than 64 KiB."""
    size = len(text)
    if size < 126:
        return bytes((_TEXT, _MASKED | size)) + _NO_MASK + text
    return bytes((_TEXT, _MASKED | 126)) + size.to_bytes(2, "big") + _NO_MASK + text


def heard(text: bytes) -> bytes:
    """`text` as a server's frame."""
    size = len(text)
    if size < 126:
        return bytes((_TEXT, size)) + text
    if size < 1 << 16:
        return bytes((_TEXT, 126)) + size.to_bytes(2, "big") + text
    return bytes((_TEXT, 127)) + size.to_bytes(8, "big") + text


class Broken(Exception):
    """The server sent something else than a whole text frame, such as its close."""


class Frames:
    """Takes a server's frames apart, wherever the reads cut them."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def take(self, chunk: bytes) -> list[bytes]:
        """The texts that are whole now. Raises Broken."""
        data, texts, at = self._rest + chunk, [], 0
        while (bounds := _text_at(data, at)) is not None:
            start, at = bounds
            texts.append(data[start:at])
        self._rest = data[at:]
        return texts


def _text_at(data: bytes, at: int) -> tuple[int, int] | None:
    """Where the text of the frame at `at` begins and ends; None where it is not all there."""
    if len(data) - at < 2:
        return None
    if data[at] != _TEXT or data[at + 1] & _MASKED:
        raise Broken(f"a frame that begins with {data[at : at + 40]!r}")
    size, start = data[at + 1], at + 2
    if size >= 126:
        start += 2 if size == 126 else 8
        # Too few bytes give too small a size here, but then they are missing below as well.
        size = int.from_bytes(data[at + 2 : start], "big")
    end = start + size
    return (start, end) if end <= len(data) else None
