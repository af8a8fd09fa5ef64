"""What becomes of texts that people send. STOP suppresses their number; START ends that, and no suppression that has
another reason. A text counts once: one that is told again, by mistake or by who has caught it, changes nothing."""

from __future__ import annotations

from redis.asyncio import Redis

from crown import ids, logs, metrics
from crown.breaker import Away, Breaker
from crown.errors import NotReady
from crown.notification.v1.types_pb2 import Channel, SuppressionReason
from crown.suppressions import Suppressions
from services.sms.keywords import Word

log = logs.get(__name__)

_KEPT_S = 30 * 86_400
_LIMIT_S = 1.0


class Inbound:
    """Obeys what people text."""

    def __init__(self, suppressions: Suppressions, redis: Redis) -> None:
        self._suppressions = suppressions
        self._redis = redis
        self._breaker = Breaker(_LIMIT_S)

    async def obey(self, word: Word, number: str, provider: str, message_id: str) -> None:
        """Does what `word` asks for `number`, in E.164 form. While Redis is away a STOP counts in any case, and a
        START not: raises NotReady, and what the store raises; the provider tells it again."""
        metrics.CALLBACKS.labels(provider, f"INBOUND_{word.value}").inc()
        if word not in {Word.STOP, Word.START} or not number:
            return
        key = f"crown:sms:inbound:{ids.callback(provider, message_id)}"
        if await self._has_come(key, word):
            return
        if word == Word.STOP:
            await self._suppressions.add(Channel.SMS, number, SuppressionReason.UNSUBSCRIBE, provider)
        else:
            await self._let_go(number)
        await self._remember(key)

    async def _has_come(self, key: str, word: Word) -> bool:
        try:
            return bool(await self._breaker.call(lambda: self._redis.exists(key)))
        except Away as error:
            if word == Word.STOP:
                return False
            raise NotReady("it cannot be told whether this has come before; try again") from error

    async def _let_go(self, number: str) -> None:
        found = (await self._suppressions.among(Channel.SMS, [number])).get(number)
        if found is not None and found.reason == SuppressionReason.UNSUBSCRIBE:
            await self._suppressions.remove(Channel.SMS, number)

    async def _remember(self, key: str) -> None:
        try:
            await self._breaker.call(lambda: self._redis.set(key, 1, ex=_KEPT_S))
        except Away as error:
            log.warning("inbound_not_remembered", error=type(error).__name__)
