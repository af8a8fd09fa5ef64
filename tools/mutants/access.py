"""Changes to who may do what, how often, and at what cost."""

from __future__ import annotations

from tools.mutants.mutant import Mutant

_UNIT = "tests/unit/crown"

ACCESS = (
    # -- rules
    Mutant(
        "the rule is not asked",
        "each call is for whom its rule names",
        "crown/access.py",
        '        raise NotAllowed(f"this call needs {needs}", metadata={"needs": needs})\n',
        "        return\n",
        (f"{_UNIT}/test_access.py::test_the_rule_alone_decides",),
    ),
    Mutant(
        "a person is anybody",
        "a person acts for themselves alone, by the decoded message",
        "crown/access.py",
        "getattr(request, allowed.self) == principal.subject",
        "getattr(request, allowed.self)",
        (f"{_UNIT}/test_door.py::test_the_rule_of_the_rpc_decides_on_the_decoded_message",),
        quick=True,
    ),
    Mutant(
        "any service may do what any service may",
        "a service needs the scope",
        "crown/access.py",
        "allowed.scope and _has(principal, allowed)",
        "allowed.scope",
        (f"{_UNIT}/test_access.py::test_the_rule_alone_decides",),
    ),
    Mutant(
        "a scope for a category is a scope for all",
        "who may send for one category sends for no other",
        "crown/access.py",
        "    return allowed.by_category and bool(categories(principal, allowed.scope))\n",
        "    return bool(categories(principal, allowed.scope))\n",
        (f"{_UNIT}/test_access.py::test_a_scope_for_a_category_opens_only_what_looks_at_categories",),
    ),
    Mutant(
        "a direct send is a way around a category",
        "who may send for one category sends nothing that has none",
        "crown/access.py",
        "    if allowed.not_narrowed and categories(principal, allowed.not_narrowed):\n",
        "    if False:\n",
        (f"{_UNIT}/test_access.py::test_what_has_no_category_is_not_for_who_is_limited_to_some",),
    ),
    Mutant(
        "CRITICAL is for every category",
        "who may send for one category does not take the lane of another",
        "services/ingest/intake/accept.py",
        "    if request.priority == Priority.CRITICAL:\n        said.add",
        "    if False:\n        said.add",
        (
            "tests/unit/services/ingest/intake/test_accept.py::test_a_token_for_some_categories_sends_no_other",
        ),
    ),
    Mutant(
        "a token in a field is for every call",
        "a token stands in the header, but where the rule says otherwise",
        "crown/door.py",
        "        elif self._token:\n",
        "        elif self._token or True:\n",
        (f"{_UNIT}/test_door.py::test_a_field_that_no_rule_names_holds_no_token",),
    ),
    Mutant(
        "the text of a bug reaches the caller",
        "nobody outside reads what went wrong inside",
        "crown/door.py",
        '        known = CrownError("internal error; the request id finds it in the logs")\n',
        "        known = CrownError(str(error))\n",
        (f"{_UNIT}/test_door.py::test_the_text_of_a_bug_stays_here",),
    ),
    Mutant(
        "requests of any size are decoded",
        "a request is as large as its limit at most",
        "crown/door.py",
        "        if len(raw) > self._limit:\n",
        "        if False:\n",
        (f"{_UNIT}/test_door.py::test_a_request_may_be_as_large_as_its_limit_and_no_larger",),
    ),
    Mutant(
        "bytes that are no message are a bug",
        "what cannot be decoded is refused by name",
        "crown/door.py",
        "        except (DecodeError, ValueError, RecursionError) as error:\n            raise Undecodable(",
        "        except (ZeroDivisionError,) as error:\n            raise Undecodable(",
        (f"{_UNIT}/test_door.py::test_what_is_no_message_is_invalid",),
    ),
    Mutant(
        "the caller's deadline is not looked at",
        "a clear error comes before the caller gives up",
        "crown/door.py",
        "    return DEADLINE_S if left is None else min(max(left - MARGIN_S, 0.0), DEADLINE_S)\n",
        "    return DEADLINE_S\n",
        (f"{_UNIT}/test_door.py::test_a_clear_error_beats_the_caller_s_deadline",),
    ),
    Mutant(
        "anybody can tell what was sent who guesses it",
        "what stands beside sealed content says nothing of it",
        "services/ingest/intake/accept.py",
        '    return hmac.digest(data_key.raw, b"request\\0" + written, "sha256")\n',
        "    return sha256(written).digest()\n",
        (
            "tests/unit/services/ingest/intake/test_accept.py"
            "::test_nobody_without_the_key_can_guess_what_a_hash_is_of",
        ),
    ),
    Mutant(
        "operators look at people unseen",
        "what operators do to people is logged by name",
        "crown/door.py",
        "        self._note_operator(request)\n        return request\n",
        "        return request\n",
        (f"{_UNIT}/test_door.py::test_what_operators_do_to_people_is_logged",),
    ),
    # -- who has no token
    Mutant(
        "links are called as often as anybody likes",
        "what needs no token is bounded by address",
        "gateway/contract.py",
        "        if access.is_open(rule):\n",
        "        if rule.anyone:\n",
        (
            "tests/unit/gateway/test_open_routes.py::test_what_needs_no_token_is_bounded_by_address_and_nothing_else_is",
        ),
    ),
    Mutant(
        "whoever is in front is believed",
        "a client does not say where it comes from",
        "gateway/render.py",
        '["trusted" if hops else "untrusted"]',
        '["trusted"]',
        ("tests/unit/gateway/test_render.py::test_nobody_in_front_is_believed_unless_it_is_said",),
    ),
    # -- what is spent
    Mutant(
        "a caller may use the whole day",
        "one caller's texts leave room for those of others",
        "services/sms/caps.py",
        "        caller = self.day * self.caller_percent // 100\n",
        "        caller = self.day\n",
        ("tests/integration/sms/test_caps.py::test_a_caller_leaves_room_for_others",),
    ),
    Mutant(
        "all texts are urgent",
        "login codes go out when the rest of the day is used up",
        "services/sms/desk.py",
        "            urgent=entry.category == Category.SECURITY or entry.event.priority == Priority.CRITICAL,\n",
        "            urgent=True,\n",
        ("tests/unit/services/sms/test_desk.py::test_what_is_urgent_may_use_the_reserve",),
    ),
    Mutant(
        "the reserve is for everybody",
        "login codes go out when the rest of the day is used up",
        "services/sms/caps.py",
        "        open_percent = 100 if urgent else 100 - self.reserve_percent\n",
        "        open_percent = 100\n",
        ("tests/integration/sms/test_caps.py::test_a_reserve_of_the_day_is_for_what_is_urgent",),
    ),
)
