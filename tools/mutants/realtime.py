"""Changes to what sockets get, and what they may do."""

from __future__ import annotations

from tools.mutants.mutant import Mutant

_UNIT = "tests/unit/services/realtime"
_NODES = "tests/integration/realtime"

REALTIME = (
    Mutant(
        "anybody may listen to anybody",
        "a person's topic is theirs alone",
        "crown/access.py",
        'principal.use == "user" and allowed.self and name == principal.subject:',
        'principal.use == "user" and allowed.self:',
        (
            "tests/unit/crown/test_access.py::test_the_rule_of_a_topic_decides",
            f"{_UNIT}/test_socket.py::test_others_topics_are_refused_with_the_joins_refs",
        ),
        quick=True,
    ),
    Mutant(
        "a group lets strangers in",
        "only members join a group",
        "services/realtime/group_channel.py",
        "        self._client_events = (await self._membership()).client_events\n",
        "        self._client_events = True\n",
        (f"{_UNIT}/test_group_channel.py::test_only_members_get_in",),
    ),
    Mutant(
        "who is removed stays",
        "who is removed from a group hears no more of it",
        "services/realtime/group_channel.py",
        "            if notice.concerns(self._user_id):\n                self.expel()\n",
        "            pass\n",
        (f"{_UNIT}/test_group_channel.py::test_who_is_removed_is_sent_away_for_good",),
    ),
    Mutant(
        "pages of any origin may connect",
        "a page of another site gets no socket",
        "services/realtime/handshake.py",
        'headers.get("Origin"), headers.get("Host", "")):\n            raise Refused(403)\n        offered',
        'headers.get("Origin"), headers.get("Host", "")):\n            pass\n        offered',
        (f"{_NODES}/test_connect.py::test_pages_of_the_same_host_may_connect",),
    ),
    Mutant(
        "a revoked token connects",
        "a revoked session is over",
        "crown/revocations.py",
        "        return principal.issued <= self.revoke_time\n",
        "        return False\n",
        ("tests/unit/crown/test_revocations.py::test_when",),
    ),
    Mutant(
        "a client that does not read is waited for",
        "what waits for a socket is bounded",
        "services/realtime/websocket.py",
        "        asyncio.get_running_loop().call_soon(self.close, closecodes.SLOW)\n",
        "        asyncio.get_running_loop()\n",
        (f"{_NODES}/test_going_away.py::test_a_slow_reader_is_cut_off_and_delays_nobody",),
        hangs=True,
    ),
    Mutant(
        "a client may say as much as it likes",
        "frames of a client have a rate",
        "services/realtime/websocket.py",
        "        if self._due - now > self._pace.burst_s:\n",
        "        if False:\n",
        (f"{_NODES}/test_limits.py::test_who_says_too_much_is_closed_with_3013",),
    ),
    Mutant(
        "a message has fragments without end",
        "a message of a client is bounded",
        "services/realtime/websocket.py",
        " > MESSAGE_MOST_BYTES or len(self._fragments) == FRAGMENTS_MOST:\n",
        " > MESSAGE_MOST_BYTES:\n",
        (f"{_NODES}/test_limits.py::test_endless_empty_fragments_close_with_1009",),
    ),
    Mutant(
        "reserved bits are passed over",
        "a frame is one of the protocol",
        "services/realtime/websocket.py",
        "        elif frame.rsv1 or frame.rsv2 or frame.rsv3:\n            self.close(closecodes.PROTOCOL)\n",
        "",
        (f"{_NODES}/test_protocol.py::test_reserved_bits_close_with_1002",),
    ),
    Mutant(
        "a socket joins as many topics as it likes",
        "topics of a socket are bounded",
        "services/realtime/socket.py",
        "        if len(self._channels) >= CHANNELS_MOST:\n",
        "        if False:\n",
        (f"{_UNIT}/test_socket.py::test_a_hundred_topics_and_no_more",),
    ),
    Mutant(
        "a repetition is delivered",
        "no socket gets an event twice",
        "services/realtime/hub.py",
        "            if arrival.offset <= known:\n                return  # a repetition\n",
        "",
        (f"{_UNIT}/test_hub.py::test_a_repetition_is_not_delivered",),
    ),
    Mutant(
        "a gap is passed over",
        "what is missing is fetched, or said to be missing",
        "services/realtime/hub.py",
        "            if arrival.before > known or (room.last and not arrival.before):\n",
        "            if False:\n",
        (f"{_UNIT}/test_hub.py::test_a_gap_is_filled_from_the_stream",),
    ),
    Mutant(
        "what cannot be whole is told as recovered",
        "recovered means whole",
        "services/realtime/hub.py",
        "        if not whole or not self._feed.current:\n            return Joined(",
        "        if not self._feed.current:\n            return Joined(",
        (f"{_UNIT}/test_hub.py::test_where_it_cannot_be_whole_nothing_is_recovered",),
    ),
    Mutant(
        "sockets outlive their tokens",
        "a socket ends with its token",
        "services/realtime/sockets.py",
        "        elif connection.expires + auth.LEEWAY_S < time.time():\n",
        "        elif False:\n",
        (f"{_NODES}/test_connect.py::test_a_token_that_ends_closes_the_socket",),
    ),
)
