"""`python -m stack.mailbox`: settings, both servers, run until told to stop."""

from __future__ import annotations

import sys

import uvloop

from stack.environment import load
from stack.mailbox.server import start
from stack.mailbox.settings import Settings
from stack.stopping import until_stopped


async def _run(settings: Settings) -> None:
    mailbox = await start(settings)
    smtp, http = f"smtp://{settings.bind}:{mailbox.smtp_port}", f"http://{settings.bind}:{mailbox.http_port}"
    print(f"mailbox: {smtp}, {http}", flush=True)
    await until_stopped()
    await mailbox.stop()


def main() -> None:
    """Exits with 2 where a setting is no good, with 1 where a port or the store is."""
    settings = load(Settings)
    try:
        uvloop.run(_run(settings))
    except OSError as error:
        sys.exit(f"mailbox: {error}")


if __name__ == "__main__":
    main()
