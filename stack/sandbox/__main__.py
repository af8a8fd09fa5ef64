"""`python -m stack.sandbox`: settings, server, run until told to stop."""

from __future__ import annotations

import sys

import uvloop

from stack.environment import load
from stack.sandbox.server import build, start
from stack.sandbox.settings import Settings
from stack.stopping import until_stopped


async def _run(settings: Settings) -> None:
    runner, port = await start(build(settings), settings.bind, settings.port)
    print(f"sandbox: http://{settings.bind}:{port} (SendGrid, Twilio, SNS, FCM, Web Push)", flush=True)
    await until_stopped()
    await runner.cleanup()


def main() -> None:
    """Exits with 2 where a setting or the port is no good."""
    settings = load(Settings)
    try:
        uvloop.run(_run(settings))
    except (OSError, ValueError) as error:
        sys.exit(f"sandbox: {error}")


if __name__ == "__main__":
    main()
