"""A contract in which somebody forgot to say who may call fails the build."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from crown.notification.v1 import access_pb2
from tools import access_rules

ROOT = Path(__file__).parents[3]
PROTO = "protos/crown/notification/v1/inbox_service.proto"
# What `make proto` needs of the repository.
PARTS = ("protos", "crown", "gateway", "tools", "buf")


def contract(
    rule: access_pb2.AccessRule | None, *topics: access_pb2.TopicRule, streams: bool = False
) -> descriptor_pb2.FileDescriptorSet:
    """A contract of one RPC about a `user_id` and a `count`."""
    files = descriptor_pb2.FileDescriptorSet()
    file = files.file.add(name="made_up.proto", package="made.up")
    request = file.message_type.add(name="Request")
    request.field.add(name="user_id", number=1, type=9, label=1)
    request.field.add(name="count", number=2, type=5, label=1)
    request.field.add(name="user_ids", number=3, type=9, label=3)
    service = file.service.add(name="MadeUp")
    rpc = service.method.add(name="Do", input_type=".made.up.Request", client_streaming=streams)
    if rule is not None:
        rpc.options.Extensions[access_pb2.access].CopyFrom(rule)
    service.options.Extensions[access_pb2.topics].extend(topics)
    return files


Rule = access_pb2.AccessRule
LINK = access_pb2.PROOF_SIGNED_LINK


@pytest.mark.parametrize(
    ("rule", "streams", "problem"),
    [
        (None, False, "has no access rule"),
        (Rule(), False, "has no access rule"),
        (Rule(anyone=True), False, ""),
        (Rule(proof=LINK), False, ""),
        (Rule(anyone=True, operator=True), False, "needs no token, and"),
        (Rule(proof=LINK, scope="inbox.read"), False, "needs no token, and"),
        (Rule(anyone=True, proof=LINK), False, "needs no token, and"),
        (Rule(self="user_id"), False, ""),
        (Rule(self="user_id", scope="inbox.read", operator=True), False, ""),
        (Rule(self="person"), False, "about person, which is no text of Request"),
        (Rule(self="count"), False, "about count, which is no text of Request"),
        (Rule(self="user_ids"), False, "about user_ids, which is no text of Request"),
        (Rule(scope="inbox.read", token="access_token"), False, "about access_token"),
        (Rule(token="user_id"), False, "lets nobody in"),
        (Rule(scope="notifications.send", by_category=True), False, ""),
        (Rule(operator=True, by_category=True), False, "no scope that could be for one category"),
        (Rule(scope="channels.send", not_narrowed="notifications.send"), False, ""),
        (Rule(operator=True, not_narrowed="notifications.send"), False, "limit to some categories"),
        (Rule(scope="a", by_category=True, not_narrowed="a"), False, "limit to some categories"),
        (Rule(scope="notifications.send"), True, ""),
        (Rule(self="user_id"), True, "takes a stream of requests"),
        (Rule(anyone=True), True, "takes a stream of requests"),
        (Rule(proof=LINK), True, "takes a stream of requests"),
    ],
)
def test_what_is_wrong_with_a_rule(rule: Rule | None, streams: bool, problem: str) -> None:
    found = access_rules.problems(contract(rule, streams=streams))
    assert len(found) == (1 if problem else 0), found
    assert all(one.startswith("made.up.MadeUp.Do: ") and problem in one for one in found)


Topic = access_pb2.TopicRule


@pytest.mark.parametrize(
    ("topics", "problem"),
    [
        ([Topic(kinds=["user"], self=True), Topic(kinds=["a", "b"], member=True)], ""),
        ([Topic(self=True)], "of no kind"),
        ([Topic(kinds=["user"])], "nobody may join: user"),
        ([Topic(kinds=["a", "b"], self=True), Topic(kinds=["b"], operator=True)], "several rules"),
    ],
)
def test_what_is_wrong_with_topics(topics: list[Topic], problem: str) -> None:
    found = access_rules.problems(contract(Rule(anyone=True), *topics))
    assert len(found) == (1 if problem else 0), found
    assert all(one.startswith("made.up.MadeUp: ") and problem in one for one in found)


def test_make_proto_fails_without_a_rule_and_says_where(tmp_path: Path) -> None:
    for part in PARTS:
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    proto = tmp_path / PROTO
    before = proto.read_text()
    # The first rule of the file.
    start = before.index("    option (access)")
    end = before.index("    option (google.api.http)")
    proto.write_text(before[:start] + before[end:])
    path = f"{Path(sys.executable).parent}:{os.defpath}"
    made = subprocess.run(
        ["tools/proto.sh"], cwd=tmp_path, env={"PATH": path}, capture_output=True, text=True, check=False
    )
    assert made.returncode != 0
    assert "InboxService.ListNotifications: has no access rule" in made.stderr
