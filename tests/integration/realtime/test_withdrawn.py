"""A key that the auth service withdraws: what it opened is closed, and it opens nothing more; and a new one is known
at once, also to a socket."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from crown import auth
from crown.notification.v1.realtime_service_pb2 import SubscribeRequest
from stack.tokens import AUDIENCE, ISSUER
from tests.integration.realtime.conftest import PATIENCE_S
from tests.integration.realtime.test_connect import status

if TYPE_CHECKING:
    from tests.integration.realtime.conftest import Nats, Node

    Run = Callable[..., AbstractAsyncContextManager[Node]]


class Issuer:
    """An auth service that publishes its keys in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._keys: dict[str, ec.EllipticCurvePrivateKey] = {}

    def publish(self, *key_ids: str) -> None:
        """These keys and no others; new ones are made."""
        public = []
        for key_id in key_ids:
            key = self._keys.setdefault(key_id, ec.generate_private_key(ec.SECP256R1()))
            jwk: dict[str, Any] = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
            public.append({**jwk, "kid": key_id, "alg": "ES256"})
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps({"keys": public}))
        fresh.replace(self.path)

    def token(self, key_id: str, subject: str) -> str:
        """A good token."""
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "use": "user", "iat": now, "exp": now + 600}
        return jwt.encode(claims, self._keys[key_id], "ES256", {"kid": key_id})


async def test_what_a_withdrawn_key_opened_is_closed(
    nats: Nats, run_node: Run, tmp_path: Path, user: str
) -> None:
    issuer = Issuer(tmp_path / "jwks.json")
    issuer.publish("old", "kept")
    old, kept = issuer.token("old", user), issuer.token("kept", f"{user}-other")
    async with run_node(nats, CROWN_JWKS=str(issuer.path)) as node:
        async with node.person(old) as one, node.person(kept) as bystander:
            stream = node.stub.Subscribe(
                SubscribeRequest(user_id=user), metadata=(("authorization", f"Bearer {old}"),)
            )
            await stream.initial_metadata()
            issuer.publish("kept")
            began = time.monotonic()
            assert await one.closed(auth.REFRESH_S + PATIENCE_S) == 1001
            assert time.monotonic() - began < auth.REFRESH_S + PATIENCE_S
            assert await stream.code() is grpc.StatusCode.UNAUTHENTICATED
            assert (await status(node, node.url(vsn="2.0.0", token=old)))[0] == 403
            await bystander.say(None, "1", "phoenix", "heartbeat", {})
            assert (await bystander.hear())[1] == "1"


async def test_the_first_socket_with_a_new_key_is_let_in(
    nats: Nats, run_node: Run, tmp_path: Path, user: str
) -> None:
    issuer = Issuer(tmp_path / "jwks.json")
    issuer.publish("old")
    async with run_node(nats, CROWN_JWKS=str(issuer.path)) as node:
        async with node.person(issuer.token("old", user)):
            pass
        issuer.publish("old", "new")
        assert (await status(node, node.url(vsn="2.0.0", token=issuer.token("new", user))))[0] == 101
