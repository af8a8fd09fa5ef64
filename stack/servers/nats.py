"""nats-server with JetStream that answers only after an fsync, and a user per service
who may do what stack/rights.py says."""

from __future__ import annotations

import json

from stack import probes
from stack.layout import Layout, write_private
from stack.process import Process
from stack.secrets import OPERATOR, Secrets, read
from stack.servers import binary
from stack.settings import LOOPBACK

NAME = "nats"


def process(layout: Layout, secrets: Secrets, port: int, monitor_port: int) -> Process:
    configuration = layout.run / "nats.conf"

    def prepare() -> None:
        listen, monitor = f"{LOOPBACK}:{port}", f"{LOOPBACK}:{monitor_port}"
        write_private(configuration, configure(secrets, str(layout.data(NAME)), listen, monitor))

    return Process(
        name=NAME,
        command=(str(binary.in_scripts("nats-server")), "--config", str(configuration)),
        address=f"{LOOPBACK}:{port}",
        ports={NAME: port, "nats monitor": monitor_port},
        # With its streams: after a full disk it serves, and stores nothing until it is started anew.
        probe=probes.http(monitor_port, "/healthz"),
        prepare=prepare,
    )


def configure(secrets: Secrets, folder: str | None, listen: str, monitor: str) -> str:
    """The server's configuration file: `folder` keeps the streams, where it is not named by --store_dir; `listen` and
    `monitor` are each `host:port`. Quoting is JSON's, which nats-server reads."""
    store = f"\n  store_dir: {json.dumps(folder)}" if folder else ""
    return f"""\
server_name: crown
listen: "{listen}"
http: "{monitor}"

jetstream {{{store}
  max_file_store: 20GB
  max_memory_store: 256MB
  # By default an acknowledged message reaches the disk up to two minutes later: a power cut loses it.
  sync_interval: always
}}

max_payload: 1MB
write_deadline: "5s"
ping_interval: "20s"
ping_max: 3

accounts {{
  CROWN {{
    jetstream: enabled
    users: [
{_users(secrets)}
    ]
  }}
  SYS {{}}
}}
system_account: SYS
"""


def _users(secrets: Secrets) -> str:
    # Late: who only asks for an address needs none of what the tables are made from.
    from stack import rights

    rows: list[dict[str, object]] = [
        {
            "user": user,
            "password": read(secrets.nats_password(user)),
            "permissions": {
                "publish": {"allow": list(may.publish)},
                "subscribe": {"allow": list(may.subscribe)},
            },
        }
        for user, may in rights.NATS.items()
    ]
    rows.append({"user": OPERATOR, "password": read(secrets.nats_password(OPERATOR))})
    return "\n".join(f"      {json.dumps(row)}" for row in rows)
