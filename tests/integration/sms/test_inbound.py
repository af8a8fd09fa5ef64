"""STOP and START in a real store, with a real Redis and without one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from crown import presence
from crown.errors import NotReady
from crown.notification.v1.types_pb2 import Channel, SuppressionReason
from crown.suppressions import Suppressions
from crown.vault import data_key
from services.sms.inbound import Inbound
from services.sms.keywords import Word
from tests.integration.rig import Rig

KEY = data_key("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
ANN = "+14155550123"


@pytest.fixture
def suppressions(rig: Rig) -> Suppressions:
    return Suppressions(rig.db, KEY)


@pytest.fixture
async def inbound(rig: Rig, suppressions: Suppressions) -> AsyncIterator[Inbound]:
    await rig.redis.flushall()
    await rig.db.suppressions.delete_many({})
    redis = presence.connect(rig.environment["REDIS_HOST"])
    yield Inbound(suppressions, redis)
    await redis.aclose()


async def reason(suppressions: Suppressions) -> str:
    """Why nothing is sent to Ann; empty where something is."""
    found = (await suppressions.among(Channel.SMS, [ANN])).get(ANN)
    return SuppressionReason.Type.Name(found.reason) if found else ""


async def test_stop_and_start(inbound: Inbound, suppressions: Suppressions) -> None:
    await inbound.obey(Word.STOP, ANN, "twilio", "SM1")
    assert await reason(suppressions) == "UNSUBSCRIBE"
    await inbound.obey(Word.HELP, ANN, "twilio", "SM2")
    await inbound.obey(Word.OTHER, ANN, "twilio", "SM3")
    await inbound.obey(Word.START, "", "twilio", "SM4")
    assert await reason(suppressions) == "UNSUBSCRIBE"
    await inbound.obey(Word.START, ANN, "twilio", "SM5")
    assert await reason(suppressions) == ""


async def test_a_text_counts_once(inbound: Inbound, suppressions: Suppressions) -> None:
    for n, word in enumerate((Word.STOP, Word.START, Word.STOP)):
        await inbound.obey(word, ANN, "twilio", f"SM{n}")
    # Somebody has caught the START, and posts it again.
    await inbound.obey(Word.START, ANN, "twilio", "SM1")
    assert await reason(suppressions) == "UNSUBSCRIBE"
    await inbound.obey(Word.START, ANN, "twilio", "SM3")
    await inbound.obey(Word.STOP, ANN, "twilio", "SM0")
    assert await reason(suppressions) == ""


async def test_start_ends_nothing_that_has_another_reason(
    inbound: Inbound, suppressions: Suppressions
) -> None:
    await suppressions.add(Channel.SMS, ANN, SuppressionReason.MANUAL, "operator")
    await inbound.obey(Word.START, ANN, "twilio", "SM1")
    assert await reason(suppressions) == "MANUAL"


async def test_redis_away(rig: Rig, inbound: Inbound, suppressions: Suppressions) -> None:
    async with rig.suspended("valkey"):
        await inbound.obey(Word.STOP, ANN, "twilio", "SM1")
        assert await reason(suppressions) == "UNSUBSCRIBE"
        with pytest.raises(NotReady):
            await inbound.obey(Word.START, ANN, "twilio", "SM2")
        assert await reason(suppressions) == "UNSUBSCRIBE"
