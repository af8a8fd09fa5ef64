"""Builds the programs of examples/ and runs each against one suite: `python -m tools.clients [name …]`.

The auth service among them is started before the suite, which believes its tokens, and the AI service, which the
suite asks. Where they are not among those that are wanted, the tokens are the stack's, and nobody is asked."""

from __future__ import annotations

import contextlib
import http
import http.client
import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from stack import tokens
from stack.control import Stack
from stack.errors import StackError, StartFailed
from stack.seed import seed
from stack.tokens import SCOPES, Use
from tools import contract_change, examples
from tools.examples import Failed

# In the order of their runs: what sends most comes last.
AUTH, AI = "rust", "python"
EXAMPLES = (AUTH, "node", AI, "cpp", "go")

PORT_BASES = range(23_000, 23_900, 100)
BUILD_LIMIT_S = 1_200
RUN_LIMIT_S = 180
_SERVE_LIMIT_S = 20
_CALL_LIMIT_S = 10
_HOST = "127.0.0.1"

Sign = Callable[[Use, str], str]


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Those whom the suite is told of: what it is told, and what the examples are."""

    suite: Mapping[str, str] = field(default_factory=dict)
    examples: Mapping[str, str] = field(default_factory=dict)


def main(wanted: list[str]) -> int:
    """Exit status 1 where an example cannot be built or does not show what it promises; 2 where there is none."""
    unknown = [name for name in wanted if name not in EXAMPLES]
    if unknown:
        print(f"clients: there is no {', '.join(unknown)}; there are {', '.join(EXAMPLES)}", file=sys.stderr)
        return 2
    chosen = [name for name in EXAMPLES if name in wanted or not wanted]
    # An end by signal stops what was started, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("clients: ended by a signal"))
    _forget_other_stacks()
    try:
        _build(chosen)
        contract_change.must_break([name for name in chosen if name in contract_change.COMPILED])
        return _run(chosen)
    except (Failed, StackError) as problem:
        print(f"clients: {problem}", file=sys.stderr)
        return 1


def _forget_other_stacks() -> None:
    """Takes out what a developer has set for a stack of their own."""
    named = (
        "NOTIFICATION_SERVICE_PORT",
        "REDIS_HOST",
        "DATABASE_URL",
        "NATS_URL",
        "NATS_USER",
        "NATS_PASSWORD",
    )
    providers = ("SMTP_HOST", "SMTP_USER", "SMTP_PASSWORD", "PUSH_SERVICE_KEY", "SMS_API_KEY")
    for name in list(os.environ):
        if name.startswith("CROWN_") or name.removesuffix("_FILE") in (*named, *providers):
            del os.environ[name]


def _build(chosen: list[str]) -> None:
    """Builds all side by side: they wait for downloads more than they compute."""
    print(f"clients: building {', '.join(chosen)}", flush=True)
    examples.build(
        chosen,
        BUILD_LIMIT_S,
        lambda name, took_s: print(f"clients: {name} is built, after {took_s:.0f} s", flush=True),
    )


def _run(chosen: list[str]) -> int:
    failed = []
    with contextlib.ExitStack() as opened:
        neighbours = [opened.enter_context(start()) for name, start in _SERVERS.items() if name in chosen]
        suite = {name: value for one in neighbours for name, value in one.suite.items()}
        told = {name: value for one in neighbours for name, value in one.examples.items()}
        stack = opened.enter_context(_stack(suite))
        sign = _issuer(told["CROWN_AUTH"]) if AUTH in chosen else _signer(stack)
        target = f"{_HOST}:{stack.settings.ports.gateway}"
        seed(target, sign(Use.SERVICE, "stack"))
        for name in chosen:
            try:
                _show(name, {**told, **_tokens(sign, name), "CROWN_TARGET": target})
            except Failed as problem:
                print(f"clients: {problem}", file=sys.stderr, flush=True)
                failed.append(name)
        logs = stack.layout.logs
    if failed:
        print(f"clients: {', '.join(failed)} failed; the logs of the suite: {logs}", file=sys.stderr)
        return 1
    shutil.rmtree(stack.layout.folder)
    print(f"clients: {', '.join(chosen)} showed what they promise")
    return 0


def _show(name: str, environment: Mapping[str, str]) -> None:
    begun = time.monotonic()
    examples.run(name, environment, RUN_LIMIT_S, lambda line: print(f"{name}: {line}", flush=True))
    print(f"clients: {name} is done, in {time.monotonic() - begun:.0f} s", flush=True)


@contextlib.contextmanager
def _stack(environment: Mapping[str, str]) -> Iterator[Stack]:
    """The suite, up, on the first ports that are free, with nothing of an earlier run in it."""
    home = examples.LOGS / "stack"
    shutil.rmtree(home, ignore_errors=True)
    for base in PORT_BASES:
        stack = Stack(base, home, env=environment)
        try:
            stack.up()
        except StackError as error:
            if "is in use by" in str(error):
                continue
            if isinstance(error, StartFailed):
                raise Failed(str(error), stack.layout.log(error.name)) from error
            raise
        print(f"clients: the suite is up, at {stack.settings.gateway_url}", flush=True)
        try:
            yield stack
        finally:
            stack.down()
        return
    raise StackError(f"there is no free port base in {PORT_BASES}")


@contextlib.contextmanager
def _auth_service() -> Iterator[Neighbours]:
    port = _free_port()
    address = f"http://{_HOST}:{port}"
    keys = f"{address}/jwks.json"
    named = {"CROWN_JWT_ISSUER": "auth-service", "CROWN_JWT_AUDIENCE": "crown-examples"}
    with examples.serving(AUTH, port, named, lambda: _answers(port), _SERVE_LIMIT_S):
        print(f"clients: the auth service publishes its keys at {keys}", flush=True)
        yield Neighbours({"CROWN_JWKS": keys, **named}, {"CROWN_AUTH": address})


@contextlib.contextmanager
def _ai_service() -> Iterator[Neighbours]:
    port = _free_port()
    address, token = f"{_HOST}:{port}", "known-to-suite-and-filter"
    with examples.serving(AI, port, {"CROWN_FILTER_TOKEN": token}, lambda: _answers(port), _SERVE_LIMIT_S):
        print(f"clients: the AI service decides at {address}", flush=True)
        # Longer than in production: what is shown is the decision, on a machine that does all of this at once.
        patience = {"CROWN_FILTER_TIMEOUT_MS": "2000"}
        told = {"CROWN_FILTER_ADDRESS": address, "CROWN_FILTER_TOKEN": token}
        yield Neighbours({**told, **patience}, told)


# Whom the suite has to be told of when it starts.
_SERVERS = {AUTH: _auth_service, AI: _ai_service}


def _tokens(sign: Sign, name: str) -> dict[str, str]:
    """Fresh ones for each example: what one of them revokes is of no concern to the next."""
    return {
        "CROWN_TOKEN_SERVICE": sign(Use.SERVICE, f"{name}-example"),
        "CROWN_TOKEN_USER": sign(Use.USER, "user123"),
        "CROWN_TOKEN_OPERATOR": sign(Use.OPERATOR, "operator"),
    }


def _signer(stack: Stack) -> Sign:
    return lambda use, subject: tokens.sign(stack.secrets, use, subject)


def _issuer(address: str) -> Sign:
    """Asks the auth service at `address`."""

    def sign(use: Use, subject: str) -> str:
        asked = {"use": use, "subject": subject} | ({"scopes": SCOPES} if use is Use.SERVICE else {})
        with contextlib.closing(
            http.client.HTTPConnection(urlsplit(address).netloc, timeout=_CALL_LIMIT_S)
        ) as auth:
            auth.request("POST", "/tokens", json.dumps(asked))
            answer = auth.getresponse()
            text = answer.read().decode().strip()
        if answer.status != http.HTTPStatus.OK:
            raise StackError(f"the auth service answered {answer.status}: {text}")
        return text

    return sign


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((_HOST, port), timeout=1):
        return True
    return False


def _free_port() -> int:
    with socket.create_server((_HOST, 0)) as listener:
        return int(listener.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
