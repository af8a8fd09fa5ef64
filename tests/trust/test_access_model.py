"""Whoever calls, and whatever they call it with: the service does what a model of a few lines says."""

from __future__ import annotations

from dataclasses import replace

import grpc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stack.control import Stack
from stack.tokens import SCOPES
from tests.e2e.contract import GUARDED, Rpc
from tests.e2e.rest import Rest
from tests.trust import matrix
from tests.trust.callers import Kind

PEOPLE = st.sampled_from(["ann", "Ann", "ann.", "bob", "", "a:nn", "ann ", "\u0430nn"])
ALL_SCOPES = [*SCOPES, "notifications.send:social", "inbox.read:social", "admin", "*"]
CALLERS = st.builds(
    Kind,
    use=st.sampled_from(["user", "service", "operator"]),
    subject=PEOPLE.filter(bool),
    scopes=st.frozensets(st.sampled_from(ALL_SCOPES), max_size=3),
)
RPCS = [rpc for rpc in GUARDED if not rpc.method.server_streaming]


def model(caller: Kind, rpc: Rpc, user_id: str) -> bool:
    """Whether the call is allowed: by the caller, the rule and the decoded message, and nothing else."""
    named = user_id if "user_id" in rpc.method.input_type.fields_by_name else ""
    scopes = caller.scopes if caller.use == "service" else frozenset()
    return replace(caller, scopes=scopes).may(rpc.rule, named)


@settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(caller=CALLERS, rpc=st.sampled_from(RPCS), user_id=PEOPLE, past=st.booleans())
async def test_the_service_and_the_model_agree(
    stack: Stack, rest: Rest, caller: Kind, rpc: Rpc, user_id: str, past: bool
) -> None:
    # No person's erasure is wanted here: it is allowed or not before it is looked at, as all are.
    address = stack.address(rpc.process) if past else rest.address
    async with grpc.aio.insecure_channel(address) as channel:
        code = await rpc.call(channel, user_id, caller.caller(rest).metadata)
    refused = code is grpc.StatusCode.PERMISSION_DENIED
    matrix.check("any caller, any call", refused, not model(caller, rpc, user_id), caller, rpc.name, user_id)
