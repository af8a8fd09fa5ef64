"""The calls of the REST surface: RPCs that have a path, with what their comments say."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from google.protobuf import descriptor_pb2
from google.rpc.code_pb2 import Code

from crown.notification.v1 import access_pb2
from gateway.contract import bindings
from tools.errors_page import Reason
from tools.openapi.messages import text_of

# Field numbers in descriptor.proto: a file's services, and a service's methods.
_SERVICE, _METHOD = 6, 2
# What a call answers that is no JSON of the contract's messages.
_CONTENT = {
    "ShowUnsubscribe": "text/html",
    "Unsubscribe": "text/html",
    "Stream": "text/event-stream",
    "ExportPerson": "application/json",
    "ReceiveSendGridEvents": "text/plain",
    "ReceiveTwilioStatus": "text/plain",
    "ReceiveTwilioInbound": "text/xml",
    "ReceiveSns": "text/plain",
}


def read(files: descriptor_pb2.FileDescriptorSet) -> Iterator[Call]:
    """Every call, in the order of the protos."""
    for file in files.file:
        comments = {tuple(at.path): at.leading_comments for at in file.source_code_info.location}
        for place, service in enumerate(file.service):
            if service.name == "FilterService":  # others implement it
                continue
            about = text_of(comments[_SERVICE, place])
            for number, rpc in enumerate(service.method):
                if any(bindings(rpc)):
                    yield Call(service.name, about, rpc, comments[_SERVICE, place, _METHOD, number])


class Call:
    """An RPC with what its comment says."""

    def __init__(
        self, service: str, service_about: str, rpc: descriptor_pb2.MethodDescriptorProto, comment: str
    ) -> None:
        self.service = service
        self.service_about = service_about
        self.rpc = rpc
        self.rule: access_pb2.AccessRule = rpc.options.Extensions[access_pb2.access]
        about, _, self._errors = comment.partition("Errors")
        self.about = text_of(about)

    @property
    def content(self) -> str:
        """The media type of its answer where that is none of the contract's messages; empty where it is."""
        return _CONTENT.get(self.rpc.name, "")

    @property
    def summary(self) -> str:
        """The first sentence, without its stop."""
        return re.split(r"(?<=[.:;]) (?=[A-Z-])", self.about, maxsplit=1)[0].rstrip(".:;")

    def errors(self, known: Mapping[str, Reason], calls: Mapping[str, Call]) -> dict[str, str]:
        """The reasons in the paragraph `Errors:`, each with why. A code stands for the reason of the same name."""
        found: dict[str, str] = {}
        for line in re.split(r"^ *- ", self._errors, flags=re.MULTILINE)[1:]:
            head, _, why = text_of(line).partition(":")
            if other := re.search(r"as for (\w+)", head):
                theirs = calls[other[1]].errors(known, calls).items()
                found |= {name: why for name, why in theirs if Code.Name(known[name].facts.code) in head}
            for name in re.findall(r"[A-Z][A-Z_]{4,}", head):
                if name in known:
                    found[name] = why.strip()
        return found
