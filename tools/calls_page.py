"""Writes docs/calls.md, the table of every call, from the protos: REST path, who may call it, and the first sentence
of its comment. With --check it compares instead, and fails where the page is not what the protos give."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from google.protobuf import descriptor_pb2

from crown.notification.v1 import access_pb2
from gateway import contract
from tools.made import keep

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "calls.md"
_PROTOS = "protos/crown/notification/v1"
# Field numbers in descriptor.proto: a file's services, and a service's methods.
_SERVICE, _METHOD = 6, 2
# What a caller without a token shows, in words.
PROOFS = {
    access_pb2.PROOF_UNSPECIFIED: "",
    access_pb2.PROOF_PROVIDER_SIGNATURE: "the provider, who signs",
    access_pb2.PROOF_SIGNED_LINK: "who holds the link",
}
_HEAD = """\
# Every call

Made from the protos by `python -m tools.calls_page`. The contract itself, with every field, its bounds and the
errors of each call, is in [protos](../protos/crown/notification/v1). A call without a path is gRPC only.
*Who* names what a token must be: the user that the call is about, a service with a scope, or an operator.
`crown token` makes each on a machine of your own.
"""


def compiled() -> descriptor_pb2.FileDescriptorSet:
    """The descriptors of the contract, with the comments of the protos."""
    protos = sorted(str(path) for path in (ROOT / _PROTOS).glob("*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "set.binpb"
        command = (
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            "-I",
            str(ROOT / "protos"),
            "--include_source_info",
        )
        subprocess.run((*command, f"--descriptor_set_out={out}", *protos), check=True, cwd=ROOT)
        return contract.load(out)


def page(files: descriptor_pb2.FileDescriptorSet) -> str:
    """The text of the page."""
    parts = [_HEAD]
    for file in files.file:
        comments = {tuple(at.path): at.leading_comments for at in file.source_code_info.location}
        for place, service in enumerate(file.service):
            said = _first_sentence(comments.get((_SERVICE, place), ""))
            parts.append(
                f"\n## {service.name}\n\n{said}\n\n| call | REST | who | |\n| --- | --- | --- | --- |\n"
            )
            for number, rpc in enumerate(service.method):
                comment = comments.get((_SERVICE, place, _METHOD, number), "")
                parts.append(f"| {' | '.join(_cells(rpc, comment))} |\n")
    return "".join(parts)


def _cells(rpc: descriptor_pb2.MethodDescriptorProto, comment: str) -> Iterator[str]:
    streams = " (stream)" if rpc.client_streaming or rpc.server_streaming else ""
    yield f"`{rpc.name}`{streams}"
    yield "<br>".join(f"`{method} {path}`" for method, path in contract.bindings(rpc))
    yield _who(rpc.options.Extensions[access_pb2.access])
    yield _first_sentence(comment)


def _who(rule: access_pb2.AccessRule) -> str:
    ways = [
        "anyone" if rule.anyone else "",
        PROOFS[rule.proof],
        f"the user in `{rule.self}`" if rule.self else "",
        f"`{rule.scope}`" if rule.scope else "",
        "operator" if rule.operator else "",
    ]
    return ", ".join(way for way in ways if way)


def _first_sentence(comment: str) -> str:
    text = " ".join(comment.split())
    return re.split(r"(?<=[.:;]) (?=[A-Z-])", text, maxsplit=1)[0].rstrip(":;").replace("|", "\\|")


def main(arguments: list[str]) -> int:
    """Writes the page, or compares it."""
    return keep({PAGE: page(compiled())}, "protos/", "tools.calls_page", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
