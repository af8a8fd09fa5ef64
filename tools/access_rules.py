"""What is wrong with the access rules of a contract: `python -m tools.access_rules SET`, a file of descriptors,
prints each problem and fails where there is one. An RPC without a rule refuses everybody; here nobody forgets it."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from google.protobuf import descriptor_pb2

from crown.notification.v1 import access_pb2
from gateway import contract

_TEXT = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
_REPEATED = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
# What lets somebody in by their token.
_WAYS = ("self", "scope", "operator")


def problems(files: descriptor_pb2.FileDescriptorSet) -> list[str]:
    """Each problem, by the name of the RPC or of the service whose topics it is about."""
    messages = {
        f".{file.package}.{message.name}": message for file in files.file for message in file.message_type
    }
    found = []
    for package, service in contract.services(files):
        name = f"{package}.{service.name}"
        for rpc in service.method:
            found += [f"{name}.{rpc.name}: {what}" for what in _of_rpc(rpc, messages[rpc.input_type])]
        topics = service.options.Extensions[access_pb2.topics]
        found += [f"{name}: {what}" for what in _of_topics(list(topics))]
    return found


def _of_rpc(
    rpc: descriptor_pb2.MethodDescriptorProto, request: descriptor_pb2.DescriptorProto
) -> Iterator[str]:
    rule = rpc.options.Extensions[access_pb2.access]
    ways = {field.name for field, _ in rule.ListFields()}
    if not ways:
        yield "has no access rule: say who may call it, see access.proto"
    elif ways & {"anyone", "proof"} and len(ways) > 1:
        yield "needs no token, and its access rule asks for one all the same"
    elif not ways & {"anyone", "proof", *_WAYS}:
        yield "has an access rule that lets nobody in"
    texts = {field.name for field in request.field if field.type == _TEXT and field.label != _REPEATED}
    for way in ("self", "token"):
        name = getattr(rule, way)
        if name and name not in texts:
            yield f"has an access rule about {name}, which is no text of {request.name}"
    if rule.by_category and not rule.scope:
        yield "has no scope that could be for one category"
    if rule.not_narrowed and (rule.by_category or not rule.scope):
        yield "has no scope that a limit to some categories could take away"
    if rpc.client_streaming and ways & {"self", "token", "anyone", "proof"}:
        yield "takes a stream of requests, which only a token in its headers can open"


def _of_topics(rules: list[access_pb2.TopicRule]) -> Iterator[str]:
    for rule in rules:
        named = ", ".join(rule.kinds)
        if not rule.kinds:
            yield "has a rule for topics of no kind"
        elif not (rule.self or rule.member or rule.operator):
            yield f"has topics that nobody may join: {named}"
    for kind, count in Counter(kind for rule in rules for kind in rule.kinds).items():
        if count > 1:
            yield f"has several rules for the topics of {kind}"


def main() -> int:
    """0 where every rule is good."""
    found = problems(contract.load(Path(sys.argv[1])))
    for what in found:
        print(what, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
