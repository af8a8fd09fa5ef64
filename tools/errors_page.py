"""Writes docs/errors.md: the reasons and their facts from error_reason.proto, the closes of sockets from their table.
With --check it compares instead, and fails where the page is not what they give."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf import descriptor_pb2
from google.rpc.code_pb2 import Code

from crown.errors import DOMAIN
from crown.notification.v1 import error_reason_pb2
from crown.notification.v1.error_reason_pb2 import ErrorReason, ErrorRetry
from services.realtime import closecodes
from services.realtime.closecodes import Close
from tools.calls_page import ROOT, compiled
from tools.made import keep

PAGE = ROOT / "docs" / "errors.md"
_FILE = "crown/notification/v1/error_reason.proto"
_PREFIX = "ERROR_REASON_"
# Field numbers in descriptor.proto: a file's enums, and an enum's values.
_ENUM, _VALUE = 5, 2

_HEAD = """\
# Errors

Made from the protos by `python -m tools.errors_page`. One shape on every surface: a `google.rpc.Status` with details,
which the gateway prints as JSON.

```json
{"code": 3,
 "message": "user_id: exactly one of user_id, user_ids, group_ids and everyone is required; data: is required",
 "details": [
   {"@type": "type.googleapis.com/google.rpc.ErrorInfo",
    "reason": "INVALID_REQUEST", "domain": "crown.notification.v1", "metadata": {}},
   {"@type": "type.googleapis.com/google.rpc.BadRequest", "field_violations": [
     {"field": "user_id", "reason": "USER_ID_RECIPIENT",
      "description": "exactly one of user_id, user_ids, group_ids and everyone is required"},
     {"field": "data", "description": "is required", "reason": "REQUIRED"}]},
   {"@type": "type.googleapis.com/google.rpc.RequestInfo", "request_id": "…", "serving_data": ""}]}
```

All violations come at once. `code` is gRPC's number and follows from the reason; the HTTP status stands where HTTP
has it. `reason` is for programs and stable, `message` is for people and is not.

## Reasons

| reason | gRPC | HTTP | call again |
| --- | --- | --- | --- |
"""

_SURFACES = """\
## Where it is found

| surface | an error is |
| --- | --- |
| gRPC, gRPC-Web | the status, with the details in the trailer `grpc-status-details-bin`. What the gateway itself \
refuses has an `ErrorInfo`; its request id is in `x-request-id` alone |
| REST | the JSON above, with the HTTP status; `Retry-After` beside `RetryInfo` |
| bulk, and streams of notifications | `error` of an item: the same `Status`; the others go on |
| server-sent events | what will not pass, before the stream: as REST. Else, and at its end: the event `error` with \
the JSON as data |
| a socket, on a topic | a `phx_reply` with status `error` and `{reason, code, message}`. Four reasons are Phoenix's \
own words: `unmatched topic`, `too many channels joined`, `join crashed`, and `channel_crash` in `phx_error` |
| a socket, as a whole | a close code, from the table below |
| the handshake of a socket | the HTTP status alone, since browsers show nobody a body: 403 (token, origin, \
version), 429, 503 |
| long polling | the `status` that phoenix.js looks for, in the answer; or the HTTP status alone |
| callbacks of providers (`/webhooks/…`) | as REST |
| links of mails (`/unsubscribe/…`) | a page in HTML for browsers, with the HTTP status; as REST for all others |

What reaches the gateway and is no HTTP at all (broken frames of HTTP/2, a header that never ends) ends the
connection: there is nobody to answer.

## What closes a socket

| code | reason | when | come back |
| --- | --- | --- | --- |
"""

_TAIL = """
## What to know besides

*Later* means that nothing happened. `RATE_LIMITED` is said of a calling service that is above its rate: `RetryInfo`
and `Retry-After` say when this very request would pass, and answers of callers with a rate carry `RateLimit-Policy`
and `RateLimit` as well: [fairness.md](fairness.md). The gateway says it, with `Retry-After` alone, to an address that
calls too often what needs no token: [limits.md](limits.md).
`PAYLOAD_TOO_LARGE` has the same gRPC code and no `RetryInfo`.

Who raises: handlers raise a subclass of `CrownError` (the tree stands at the top of `crown/errors.py`). Who maps:
`crown/door.py`, and nobody else; what the gateway says by itself stands in `gateway/envoy.yaml`, by reason. What is
not a `CrownError` is a bug: logged with its request id, and told as `INTERNAL` without its text.

Two things that JSON allows and a caller may trip over: a field that the contract does not know is ignored, as
protobuf has it (so `user_idz` means "no recipient", which is refused); and of a key that stands twice the last
counts, for the rights as well.
"""

_AGAIN = {
    ErrorRetry.ERROR_RETRY_NEVER: "no",
    ErrorRetry.ERROR_RETRY_AFTER_CHANGE: "changed",
    ErrorRetry.ERROR_RETRY_LATER: "later",
    ErrorRetry.ERROR_RETRY_SAME_KEY: "yes, with the same idempotency key",
    ErrorRetry.ERROR_RETRY_PERHAPS: "perhaps",
}


@dataclass(frozen=True)
class Reason:
    """One reason, as the proto has it."""

    name: str
    about: str
    facts: error_reason_pb2.ErrorFacts

    @property
    def example(self) -> str:
        """Its ErrorInfo as JSON."""
        info: dict[str, object] = {"reason": self.name, "domain": DOMAIN}
        return json.dumps(info | {"metadata": dict(sorted(self.facts.metadata.items()))}, ensure_ascii=False)


def reasons(files: descriptor_pb2.FileDescriptorSet) -> Iterator[Reason]:
    """Every reason that is sent, in the order of the proto."""
    (file,) = (file for file in files.file if file.name == _FILE)
    comments = {tuple(at.path): at.leading_comments for at in file.source_code_info.location}
    (place,) = (at for at, enum in enumerate(file.enum_type) if enum.name == ErrorReason.DESCRIPTOR.name)
    for number, value in enumerate(file.enum_type[place].value):
        if value.options.HasExtension(error_reason_pb2.error):
            comment = " ".join(comments[_ENUM, place, _VALUE, number].split())
            facts = value.options.Extensions[error_reason_pb2.error]
            yield Reason(value.name.removeprefix(_PREFIX), comment, facts)


def closes() -> list[Close]:
    """Every close of a socket, by code."""
    found = [value for value in vars(closecodes).values() if isinstance(value, Close)]
    return sorted(found, key=lambda close: close.code)


def page(files: descriptor_pb2.FileDescriptorSet) -> str:
    """The text of the page."""
    found = sorted(reasons(files), key=lambda one: (one.facts.http_statuses[0], one.name))
    rows = [_row(one) for one in found]
    each = [_each(one) for one in found]
    closed = [_closed(one) for one in closes()]
    return "".join([_HEAD, *rows, "\n", *each, _SURFACES, *closed, _TAIL])


def _row(reason: Reason) -> str:
    statuses = ", ".join(str(status) for status in reason.facts.http_statuses)
    code = Code.Name(reason.facts.code)
    return f"| [`{reason.name}`](#{reason.name.lower()}) | {code} | {statuses} | {_AGAIN[reason.facts.retry]} |\n"


def _each(reason: Reason) -> str:
    return f"### {reason.name}\n\n{reason.about} {reason.facts.action}\n\n```json\n{reason.example}\n```\n\n"


def _closed(close: Close) -> str:
    back = f"with {close.needs}" if close.needs else "yes" if close.again else "no"
    return f"| {close.code} | {close.reason} | {close.when} | {back} |\n"


def main(arguments: list[str]) -> int:
    """Writes the page, or compares it."""
    return keep({PAGE: page(compiled())}, "protos/", "tools.errors_page", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
