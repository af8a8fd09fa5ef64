"""Changes to what the parts of the suite believe of each other, and may do at the stores."""

from __future__ import annotations

from tools.mutants.mutant import Mutant

_UNIT = "tests/unit/crown"
_PULL = "tests/integration/crown/test_pull.py"

PARTS = (
    Mutant(
        "a service takes callers without a certificate",
        "with TLS on, nobody without a certificate gets as far as a request",
        "crown/tls.py",
        "            require_client_authentication=True,\n",
        "            require_client_authentication=False,\n",
        (f"{_UNIT}/test_tls.py::test_a_caller_without_a_certificate_is_not",),
    ),
    Mutant(
        "a service takes any caller of the suite",
        "with TLS on, a service takes callers that it is told by name",
        "crown/tls.py",
        "        if not self._names & shown:\n",
        "        if False:\n",
        (f"{_UNIT}/test_tls.py::test_others_are_not",),
    ),
    Mutant(
        "a renewed certificate is not shown",
        "a certificate is renewed without a restart",
        "crown/tls.py",
        "            if papers is shown:\n                return None\n",
        "            if papers:\n                return None\n",
        (f"{_UNIT}/test_tls.py::test_a_renewed_certificate_is_shown_at_once",),
    ),
    Mutant(
        "tokens of a withdrawn key are remembered",
        "a key that is withdrawn is believed no longer",
        "crown/auth.py",
        "        keys.on_withdrawn(self._forget)\n",
        "",
        (f"{_UNIT}/test_auth.py::test_a_withdrawn_key_is_believed_no_longer_also_where_it_was",),
    ),
    Mutant(
        "e-mail takes what is for texts",
        "a channel works on itself alone",
        "stack/rights.py",
        '    "email": (*_channel(_CHANNELS["email"]),',
        '    "email": (*_channel(_CHANNELS["sms"]), *_channel(_CHANNELS["email"]),',
        ("tests/unit/stack/test_rights.py::test_a_channel_works_on_itself_alone",),
    ),
    Mutant(
        "realtime makes streams",
        "only prepare makes streams",
        "stack/rights.py",
        '        "crown.longpoll.*",\n        f"{bus',
        '        "crown.longpoll.*",\n        "$JS.API.STREAM.CREATE.*",\n        f"{bus',
        ("tests/unit/stack/test_rights.py::test_only_prepare_makes_streams_and_consumers",),
    ),
    Mutant(
        "a user hears the answers of others",
        "answers go to whom they are for",
        "stack/rights.py",
        '    heard = (f"{bus.inbox_prefix(user)}.>", subjects.VITALS_ASKED)\n',
        '    heard = ("_INBOX*.>", subjects.VITALS_ASKED)\n',
        ("tests/unit/stack/test_rights.py::test_a_user_hears_only_its_own_answers",),
    ),
    Mutant(
        "the rights at NATS are not handed to the server",
        "a user publishes what its table lists and nothing else",
        "stack/servers/nats.py",
        '"publish": {"allow": list(may.publish)},',
        '"publish": {"allow": [">"]},',
        (
            "tests/integration/stack/test_rights.py::test_a_user_publishes_what_its_table_lists_and_nothing_else",
        ),
    ),
    Mutant(
        "mongod runs JavaScript",
        "no query runs code",
        "stack/servers/mongod.py",
        '"--noscripting",',
        '"--ipv6",',
        ("tests/integration/stack/test_rights.py::test_mongod_runs_no_javascript",),
    ),
    Mutant(
        "a process whose store is away is not alive",
        "who watches over processes ends none because a server is away",
        "crown/rpc.py",
        "        for name in self._own:\n            await self.health.set(name, known.SERVING",
        "        for name in (*self._own, ALIVE):\n            await self.health.set(name, known.SERVING",
        (f"{_UNIT}/test_rpc.py::test_a_process_is_alive_whatever_is_away",),
    ),
    Mutant(
        "the filter is waited for without a limit",
        "a filter that is slow holds nothing up",
        "services/ingest/dispatch/filtering.py",
        "metadata=metadata, timeout=self._limit_s)",
        "metadata=metadata)",
        (
            "tests/integration/ingest/test_filter.py::test_a_slow_filter_is_not_waited_for_and_then_left_alone",
        ),
        hangs=True,
    ),
    Mutant(
        "a header passes for a word of the server",
        "a message is settled whatever its headers say",
        "crown/pull.py",
        "        if raw.reply.startswith(_ACK):\n",
        '        if not (raw.headers or {}).get("Status"):\n',
        (f"{_PULL}::test_a_message_with_broken_headers_is_handed_out_like_any_other",),
    ),
    Mutant(
        "broken headers end the reading",
        "whatever stands on the bus, the next message is read",
        "crown/bus/client.py",
        "        except (IndexError, ValueError):\n            return None\n",
        "        except ZeroDivisionError:\n            return None\n",
        (f"{_PULL}::test_a_message_with_broken_headers_is_handed_out_like_any_other",),
    ),
    Mutant(
        "a subject that is no text ends the reading",
        "whatever stands on the bus, the next message is read",
        "crown/bus/client.py",
        "        except UnicodeDecodeError:\n",
        "        except ZeroDivisionError:\n",
        (f"{_PULL}::test_a_subject_that_is_no_text_is_handed_out_like_any_other",),
    ),
    Mutant(
        "what looks newer waits for ever",
        "what no newer code comes for ends as a dead letter",
        "crown/newer.py",
        "    return message.deliveries > DELIVERIES_MOST\n",
        "    return False\n",
        ("tests/integration/ingest/test_newer.py::test_dispatch_gives_up_what_nobody_comes_for",),
    ),
    Mutant(
        "anybody is newer code",
        "only what is sealed with our key is taken for newer code",
        "services/ingest/dispatch/dispatcher.py",
        """\
            key = self._data_key.unwrap(event.content.wrapped_key)
            orders.must_be_workable(event)
""",
        """\
            orders.must_be_workable(event)
            key = self._data_key.unwrap(event.content.wrapped_key)
""",
        (
            "tests/integration/ingest/test_newer.py::"
            "test_dispatch_takes_for_newer_only_what_is_sealed_with_our_key",
        ),
    ),
    Mutant(
        "a server of compose.yaml lets in whoever comes",
        "every server is told of its users",
        "compose.yaml",
        "--aclfile, /users/users.acl, ",
        "",
        ("tests/image/test_compose.py::test_every_server_of_others_is_told_of_its_users",),
    ),
    Mutant(
        "a server of compose.yaml sees the passwords of another",
        "each server sees its own passwords alone",
        "compose.yaml",
        "volumes: [valkey-users:/users:ro]",
        "volumes: [valkey-users:/users:ro, nats-users:/nats:ro]",
        ("tests/image/test_compose.py::test_each_server_sees_its_own_passwords_alone",),
    ),
    Mutant(
        "a user is added to an address that has one",
        "an address with a user gets no second one",
        "stack/services.py",
        '    if "@" in address:\n',
        "    if False:\n",
        ("tests/unit/stack/test_services.py::test_an_address_that_names_a_user_gets_no_second_one",),
    ),
)
