"""`python -m services.email.templates.renderer`: renders what operators wrote, in a process that can be
killed. Reads jobs from stdin and writes what became of them to stdout, each as four bytes of length and
MessagePack. Knows no secrets, opens no file or connection, and ends by itself when a job takes too long or
its parent is gone."""

from __future__ import annotations

import resource
import signal
import struct
import sys
from collections import OrderedDict
from contextlib import suppress
from typing import Any, BinaryIO

import jinja2.debug  # noqa: F401  Jinja imports it at the first error, when no file can be opened any more.
import msgspec

from crown.rendering import Links
from services.email.templates.compiled import Compiled
from services.email.templates.text import Flaw, Rendered, TemplateError, Text

# Seconds of the processor that one job may take.
CPU_MOST_S = 1.0
# What a job may take beyond what the process has when it starts.
MEMORY_MOST_BYTES = 256 << 20
LENGTH = struct.Struct(">I")
_KEPT_MOST = 200


class Job(msgspec.Struct):
    """A template and what it is to say."""

    text: Text
    values: dict[str, Any]
    public_url: str
    hosts: list[str]


class Done(msgspec.Struct):
    """What became of a job: `rendered`, or why not."""

    rendered: Rendered | None = None
    reason: str = ""
    flaws: list[Flaw] = []


def main() -> None:
    """Says that it is ready, with nothing in four bytes of length, and works until stdin ends."""
    _warm_up()
    _confine()
    kept: OrderedDict[Text, Compiled] = OrderedDict()
    decoder, encoder = msgspec.msgpack.Decoder(Job), msgspec.msgpack.Encoder()
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    sink.write(LENGTH.pack(0))
    sink.flush()
    while (raw := _read(source)) is not None:
        # Ends the process, which is what makes the limit one that no template gets around.
        signal.setitimer(signal.ITIMER_PROF, CPU_MOST_S)
        answer = encoder.encode(_work(decoder.decode(raw), kept))
        signal.setitimer(signal.ITIMER_PROF, 0)
        sink.write(LENGTH.pack(len(answer)) + answer)
        sink.flush()


def _warm_up() -> None:
    """Loads what is loaded at first use."""
    for mjml in ("<mjml><mj-body>{{ title }}</mj-body></mjml>", "{% if %}"):
        with suppress(TemplateError):
            Compiled(Text(mjml=mjml)).render({}, Links("", ()))


def _confine() -> None:
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    # A terminal's Ctrl-C is for the parent, which ends this process by closing its stdin.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    most = _size_bytes() + MEMORY_MOST_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # None beyond those that are open.
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))


def _size_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def _read(source: BinaryIO) -> bytes | None:
    head = source.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    return source.read(LENGTH.unpack(head)[0])


def _work(job: Job, kept: OrderedDict[Text, Compiled]) -> Done:
    try:
        compiled = kept.pop(job.text, None) or Compiled(job.text)
        kept[job.text] = compiled
        if len(kept) > _KEPT_MOST:
            kept.popitem(last=False)
        return Done(compiled.render(job.values, Links(job.public_url, tuple(job.hosts))))
    except TemplateError as error:
        return Done(None, error.reason, list(error.flaws))


if __name__ == "__main__":
    main()
