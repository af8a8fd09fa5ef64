"""Which provider makes an attempt: the providers of one channel in the order of preference."""

from __future__ import annotations

from collections.abc import Sequence

from crown.provider import Attempt, Provider


class Route:
    """The providers of one channel, the preferred one first. Closing it closes them."""

    def __init__(self, providers: Sequence[Provider]) -> None:
        self._providers = list(providers)

    def choose(self, attempt: Attempt) -> Provider:
        """Attempt n goes to the n-th provider, around and around, so that a retry tries the next one."""
        return self._providers[(attempt.number - 1) % len(self._providers)]

    async def close(self) -> None:
        """Closes the providers' connections."""
        for provider in self._providers:
            await provider.close()
