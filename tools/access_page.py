"""Writes docs/access.md, who may call what, from the access rules in the protos. With --check it compares instead,
and fails where the page is not what the rules give."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from google.protobuf import descriptor_pb2

from crown.notification.v1 import access_pb2
from gateway import contract
from gateway.open_routes import ROUTES
from tools.calls_page import PROOFS, ROOT, compiled
from tools.made import keep

PAGE = ROOT / "docs" / "access.md"
# Others implement it for us, and we call it.
_THEIRS = "FilterService"
_HEAD = """\
# Who may call what

Made from the access rules in the protos by `python -m tools.access_page`. The rules themselves decide: each service
applies them to the message that it has decoded, so that neither a path nor a query can say otherwise, and
`make proto` fails on a call that has none. *Person* is the field of the request that must be the subject of a user's
token; an empty cell lets nobody in that way. What each call does: [calls.md](calls.md).

## Tokens

A token is a JWT of your auth service, signed with RS256 or ES256 by a key of its JWKS, with `iss`, `aud`, `sub`,
`iat`, `exp` and `use`: `user`, `service` or `operator`. A service's rights are in `scope`, separated by spaces; in
tokens of users and operators it counts for nothing. The gateway and each service check every token; clocks may
differ by 30 s. A token may be good for 7 days from `iat` to `exp`, and each service refuses one of a longer life: it
would outlive its revocation. Minutes or hours are better. Programs that go on for longer take their token from a file
that is renewed, as the relay does (`CROWN_RELAY_TOKEN_FILE`).

The JWKS is read again every 10 s. Publish a new key that long before the first token is signed with it, and nobody
is refused; a key that you withdraw is believed for 10 s more at most, and then the sockets that it opened are closed.
While the JWKS cannot be read, or is no set of keys, the keys that were read stay good, for a day.

## Revocation

`Disconnect` ends one session of a person, which is the claim `sid` of its tokens, or all of them. Every service
refuses their tokens from then on with `TOKEN_INVALID`, some milliseconds later and within a second, and goes on
doing so after a restart. What counts is `iat`: a token of the very second in which a person was revoked is
still good, since logging out everywhere and handing out a new token is one step; where `iat` has a fraction, it
counts. Give tokens a `sid`, or a single session cannot be ended.

`RevokeTokens` does the same with all tokens of a service or of an operator; it is for operators, and for services
with the scope `tokens.revoke`. Tokens that are issued afterwards are good, so have the auth service stop giving them
first.

Each process holds what was revoked in memory, some 340 bytes for each. It reads it from the bus at its start,
and one that cannot does not begin to serve. It hears of what comes, and looks again every 10 s in case a word
got lost. While the bus is away from it, it refuses what it knows, and is not ready. The gateway knows nothing
of revocations: what it lets pass, the service behind it refuses. The filter that comes with the suite has no
bus, and believes tokens until they expire.
"""
_CATEGORIES = """
A scope that may be *for one category* can be given as `notifications.send:social`, several of them for several
categories. Its holder sends what is of these categories and is refused the rest, one by one in a bulk and on a
stream: the category that is given counts, and so do those of the kind and of the template, and the priority
`CRITICAL` counts as `SECURITY`. What is of no category would be a way around: with such a token calls *not by a token
for some categories* are refused, whatever other scopes it has. A token with the whole scope sends anything.
"""
_TOPICS = """
## Topics

The same on a WebSocket and by long polling. What a topic brings, who is there and who types is for those who have
joined it. Members who are removed have to go at once, and within half a minute where that word gets lost.

| topic | who may join |
| --- | --- |
"""
_CALLBACKS = """
## Without a token

What comes is proven in another way, and nothing is read or changed before that was checked.

| call | path | who | |
| --- | --- | --- | --- |
"""
_PROVEN = {
    access_pb2.PROOF_PROVIDER_SIGNATURE: "unsigned, or with another signature: 403, `SIGNATURE_INVALID`",
    access_pb2.PROOF_SIGNED_LINK: "altered, too old or made up: 404, `NOT_FOUND`",
}
_OUT = """
## What we call

A sender's webhook gets calls that are signed with that sender's secret ([webhooks.md](webhooks.md)). A filter of your
own gets a token with the scope of its rule and is asked with ids, hashes and counts ([filter.md](filter.md)). The
relay listens to feeds with the headers that its file names, and sends as any other service ([relay.md](relay.md)).

| call | a token with |
| --- | --- |
"""
_ROUTES = """
## Other paths of the gateway

| path | who | |
| --- | --- | --- |
"""

Found = tuple[str, descriptor_pb2.MethodDescriptorProto, access_pb2.AccessRule]


def page(files: descriptor_pb2.FileDescriptorSet) -> str:
    """The text of the page."""
    services = [service for _, service in contract.services(files)]
    rpcs: list[Found] = [
        (service.name, rpc, rpc.options.Extensions[access_pb2.access])
        for service in services
        for rpc in service.method
    ]
    topics = [rule for service in services for rule in service.options.Extensions[access_pb2.topics]]
    theirs = [found for found in rpcs if found[0] == _THEIRS]
    ours = [found for found in rpcs if found[0] != _THEIRS]
    return "".join(
        (
            _HEAD,
            _CATEGORIES,
            *_calls(found for found in ours if not found[2].proof),
            _CALLBACKS,
            *(_callback(*found) for found in ours if found[2].proof),
            _TOPICS,
            *(_topic(rule) for rule in topics),
            _OUT,
            *(f"| `{service}.{rpc.name}` | `{rule.scope}` |\n" for service, rpc, rule in theirs),
            _ROUTES,
            *(f"| `{route.path}` | {route.who} | {route.what} |\n" for route in ROUTES),
        )
    )


def _calls(found: Iterable[Found]) -> Iterator[str]:
    last = ""
    for service, rpc, rule in found:
        if service != last:
            yield f"\n## {service}\n\n| call | person | service with | operator |\n| --- | --- | --- | --- |\n"
            last = service
        yield f"| `{rpc.name}` | {' | '.join(_cells(rule))} |\n"


def _cells(rule: access_pb2.AccessRule) -> Iterator[str]:
    if rule.anyone:
        yield from ("anyone", "anyone", "anyone")
        return
    token = f", token also in `{rule.token}`" if rule.token else ""
    yield f"`{rule.self}`{token}" if rule.self else ""
    narrow = ", or that for one category" if rule.by_category else ""
    narrow += "; not by a token for some categories" if rule.not_narrowed else ""
    yield f"`{rule.scope}`{narrow}" if rule.scope else ""
    yield "yes" if rule.operator else ""


def _callback(service: str, rpc: descriptor_pb2.MethodDescriptorProto, rule: access_pb2.AccessRule) -> str:
    paths = "<br>".join(f"`{method} {path}`" for method, path in contract.bindings(rpc))
    return f"| `{service}.{rpc.name}` | {paths} | {PROOFS[rule.proof]} | {_PROVEN[rule.proof]} |\n"


def _topic(rule: access_pb2.TopicRule) -> str:
    unnamed = "<user>" if rule.self else "<group>"
    names = ", ".join(f"`{kind}:{rule.name or unnamed}`" for kind in rule.kinds)
    ways = [
        "the user that it names" if rule.self else "",
        "members of the group, where it is of this kind" if rule.member else "",
        "operators" if rule.operator else "",
    ]
    return f"| {names} | {', '.join(way for way in ways if way)} |\n"


def main(arguments: list[str]) -> int:
    """Writes the page, or compares it."""
    return keep({PAGE: page(compiled())}, "protos/", "tools.access_page", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
