"""The kinds: each with a category and channels, and the lane that follows."""

from __future__ import annotations

import pytest

from crown import catalogue
from crown.notification.v1.types_pb2 import Category, Channel, Priority

IN_APP, REAL_TIME, PUSH, EMAIL, SMS = (
    Channel.IN_APP,
    Channel.REAL_TIME,
    Channel.PUSH,
    Channel.EMAIL,
    Channel.SMS,
)

KINDS = {
    "": (Category.ACTIVITY, {IN_APP, REAL_TIME}),
    "like": (Category.ACTIVITY, {IN_APP, REAL_TIME}),
    "comment": (Category.ACTIVITY, {IN_APP, REAL_TIME, PUSH}),
    "mention": (Category.ACTIVITY, {IN_APP, REAL_TIME, PUSH}),
    "friend_request": (Category.SOCIAL, {IN_APP, REAL_TIME, PUSH}),
    "follow": (Category.SOCIAL, {IN_APP, REAL_TIME}),
    "maintenance": (Category.SYSTEM, {IN_APP, EMAIL}),
    "update": (Category.SYSTEM, {IN_APP, REAL_TIME}),
    "campaign": (Category.MARKETING, {IN_APP, EMAIL}),
    "promotion": (Category.MARKETING, {IN_APP, PUSH}),
    "login_alert": (Category.SECURITY, {IN_APP, REAL_TIME, PUSH, EMAIL}),
    "password_change": (Category.SECURITY, {IN_APP, REAL_TIME, PUSH, EMAIL, SMS}),
    "media_ready": (Category.SYSTEM, {IN_APP, REAL_TIME, PUSH}),
}


@pytest.mark.parametrize("name", KINDS)
def test_each_kind(name: str) -> None:
    found = catalogue.kind(name)
    assert (found.category, set(found.channels)) == KINDS[name]
    assert len(found.channels) == len(set(found.channels))


def test_no_kind_is_missing_above() -> None:
    assert set(KINDS) == {"", *catalogue.KINDS}


def test_what_nobody_knows_is_no_kind() -> None:
    with pytest.raises(KeyError):
        catalogue.kind("coup")


@pytest.mark.parametrize(
    ("asked", "category", "recipients", "lane"),
    [
        (Priority.PRIORITY_UNSPECIFIED, Category.SECURITY, 1, Priority.CRITICAL),
        (Priority.PRIORITY_UNSPECIFIED, Category.SECURITY, 10_000, Priority.CRITICAL),
        (Priority.PRIORITY_UNSPECIFIED, Category.MARKETING, 1, Priority.BULK),
        (Priority.PRIORITY_UNSPECIFIED, Category.SOCIAL, 1, Priority.NORMAL),
        (Priority.PRIORITY_UNSPECIFIED, Category.SOCIAL, 100, Priority.NORMAL),
        (Priority.PRIORITY_UNSPECIFIED, Category.SOCIAL, 101, Priority.BULK),
        (Priority.BULK, Category.SECURITY, 1, Priority.BULK),
        (Priority.CRITICAL, Category.MARKETING, 10_000, Priority.CRITICAL),
        (Priority.NORMAL, Category.SYSTEM, 10_000, Priority.NORMAL),
    ],
)
def test_the_lane(
    asked: Priority.Type.ValueType,
    category: Category.Type.ValueType,
    recipients: int,
    lane: Priority.Type.ValueType,
) -> None:
    assert catalogue.priority(asked, category, recipients) == lane
