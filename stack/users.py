"""The users of stack/secrets.py at servers that run in containers of their own, as those of compose.yaml:

    python -m stack.users write /servers      what NATS and Valkey read, and the key that mongod asks for
    python -m stack.users found mongo:27017   the replica set and its users; on mongod's own machine, which lets
                                              nobody else in before there are users

Both may be run again: what is there is kept, but for rights, which become what stack/rights.py says.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from stack.errors import NotReady, StackError
from stack.layout import Layout, write_private
from stack.secrets import Secrets, read
from stack.servers import mongod, nats, valkey
from stack.servers.replica_set import Member
from stack.settings import Settings

# Where NATS listens in a container; what asks for its health is beside it.
_NATS, _MONITOR = "0.0.0.0:4222", "127.0.0.1:8222"
MEMBER_KEY, NATS_CONFIGURATION, ACCESS_LIST = "member-key", "nats.conf", "users.acl"

_FOUND_LIMIT_S = 60.0
_PAUSE_S = 0.5


def write(secrets: Secrets, folder: Path) -> None:
    """Writes, into a folder for each server, what it has to know. The folders are there: each is a volume."""
    write_private(folder / mongod.NAME / MEMBER_KEY, read(secrets.mongod_member_key()))
    configuration = nats.configure(secrets, None, _NATS, _MONITOR)
    write_private(folder / nats.NAME / NATS_CONFIGURATION, configuration)
    write_private(folder / valkey.NAME / ACCESS_LIST, valkey.access_list(secrets))


async def found(secrets: Secrets, name: str) -> None:
    """Founds the replica set of the mongod on this machine, which others reach as `name` (`host:port`), and makes its
    users. Raises StackError when it is not primary within a minute."""
    member = Member(int(name.rpartition(":")[2]), secrets, name)
    problem = "it did not answer"
    try:
        async with asyncio.timeout(_FOUND_LIMIT_S):
            while True:
                try:
                    await member.serves()
                    return
                except (NotReady, OSError) as error:
                    problem = str(error)
                await asyncio.sleep(_PAUSE_S)
    except TimeoutError:
        raise StackError(f"mongod does not serve: {problem}") from None


def main() -> None:
    """Runs one of the two, by its arguments."""
    parser = argparse.ArgumentParser(prog="python -m stack.users")
    kinds = parser.add_subparsers(dest="kind", required=True)
    kinds.add_parser("write").add_argument("folder", type=Path)
    kinds.add_parser("found").add_argument("name", metavar="host:port")
    given = parser.parse_args()
    try:
        layout = Layout.of(Settings.read())
        layout.make()
        secrets = Secrets(layout.secrets)
        if given.kind == "write":
            write(secrets, given.folder)
        else:
            asyncio.run(found(secrets, given.name))
    except StackError as error:
        sys.exit(f"crown: {error}")


if __name__ == "__main__":
    main()
