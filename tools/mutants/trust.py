"""Changes to who may do what, and to what is believed: tokens, rules, signatures, links."""

from __future__ import annotations

from tools.mutants.mutant import Mutant

_UNIT = "tests/unit/crown"
_EMAIL = "tests/unit/services/email"
_SMS = "tests/unit/services/sms"
_PULL = "tests/integration/crown/test_pull.py"

TRUST = (
    # -- tokens
    Mutant(
        "any algorithm will do",
        "a token is verified by the algorithm of its key",
        "crown/token.py",
        "        if self.algorithm != key.algorithm_name:\n",
        "        if False:\n",
        (f"{_UNIT}/test_token.py::test_a_token_names_the_algorithm_of_its_key",),
    ),
    Mutant(
        "signatures are not checked",
        "only the auth service makes tokens",
        "crown/token.py",
        "        if not key.Algorithm.verify(self._signed, key.key, self._signature):\n",
        "        if False:\n",
        (f"{_UNIT}/test_auth.py::test_what_does_not_verify_is_refused",),
        quick=True,
    ),
    Mutant(
        "symmetric keys are keys",
        "a public key never verifies as a secret",
        "crown/auth.py",
        '_ALGORITHMS = ["RS256", "ES256"]',
        '_ALGORITHMS = ["RS256", "ES256", "HS256"]',
        (f"{_UNIT}/test_auth.py::test_a_symmetric_key_in_the_set_is_no_key",),
    ),
    Mutant(
        "the audience is not asked",
        "a token for another service is not for us",
        "crown/auth.py",
        "        if self._audience not in ([claims.aud] if isinstance(claims.aud, str) else claims.aud):\n",
        "        if False:\n",
        (f"{_UNIT}/test_auth.py::test_a_good_token_for_somebody_else_is_not_allowed",),
    ),
    Mutant(
        "the issuer is not asked",
        "tokens of others are not believed",
        "crown/auth.py",
        "        if claims.iss != self._issuer:\n",
        "        if False:\n",
        (f"{_UNIT}/test_auth.py::test_what_does_not_verify_is_refused",),
    ),
    Mutant(
        "a remembered token never expires",
        "a token ends when it says, also one that was verified",
        "crown/auth.py",
        "        if known.expires + LEEWAY_S < time.time():\n",
        "        if False:\n",
        (f"{_UNIT}/test_auth.py::test_a_verified_token_is_believed_until_it_expires",),
    ),
    Mutant(
        "tokens of tomorrow are good",
        "a token begins when it says",
        "crown/auth.py",
        "        if max(claims.iat, claims.nbf) > now + LEEWAY_S:\n",
        "        if False:\n",
        (f"{_UNIT}/test_auth.py::test_what_does_not_verify_is_refused",),
    ),
    Mutant(
        "revocations are not asked",
        "a revoked session is over",
        "crown/auth.py",
        "        if self._revoked(known):\n",
        "        if False:\n",
        (f"{_UNIT}/test_auth.py::test_a_token_that_was_good_can_be_refused",),
    ),
    Mutant(
        "people have scopes",
        "scopes are for services",
        "crown/auth.py",
        'if isinstance(scope, str) and use == "service" else frozenset()',
        "if isinstance(scope, str) else frozenset()",
        (f"{_UNIT}/test_auth.py::test_only_services_have_scopes",),
    ),
    Mutant(
        "extensions of tokens are passed over",
        "what has to be understood is understood",
        "crown/token.py",
        "    if said.crit is not msgspec.UNSET or said.b64 is not msgspec.UNSET:\n",
        "    if False:\n",
        (f"{_UNIT}/test_token.py::test_extensions_are_not_taken",),
    ),
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
        "logs hold the text of an exception",
        "logs tell nothing about people, whatever fails",
        "crown/backtrace.py",
        "    found.append(_named(error))\n",
        '    found.append(f"{_named(error)}: {error}")\n',
        (f"{_UNIT}/test_backtrace.py::test_it_says_what_and_where_and_no_word_of_it",),
    ),
    # -- signatures
    Mutant(
        "SendGrid's signature is not checked",
        "callbacks are SendGrid's own",
        "services/email/sendgrid/signature.py",
        "    except InvalidSignature:\n        return False\n",
        "    except InvalidSignature:\n        return True\n",
        (f"{_EMAIL}/test_sendgrid_signature.py::test_every_altered_byte_is_seen",),
    ),
    Mutant(
        "old callbacks of SendGrid are new",
        "what was recorded cannot be played again later",
        "services/email/sendgrid/signature.py",
        "abs(moment.timestamp() - int(stamp)) <= AGE_MOST_S",
        "True",
        (f"{_EMAIL}/test_sendgrid_signature.py::test_age",),
    ),
    Mutant(
        "Twilio's signature is not checked",
        "what Twilio posts is what it signed",
        "services/sms/twilio/signature.py",
        "        return any([hmac.compare_digest(given, each) for each in wanted])",
        "        return any([given and each for each in wanted])",
        (f"{_SMS}/test_twilio_signature.py::test_every_altered_byte_of_the_body",),
    ),
    Mutant(
        "any topic of SNS is ours",
        "a stranger's topic says nothing to us",
        "services/sms/sns/signature.py",
        "        if envelope is None or envelope.topic_arn not in self._topics:\n",
        "        if envelope is None:\n",
        (f"{_SMS}/test_sns_signature.py::test_a_topic_that_is_not_ours",),
    ),
    Mutant(
        "certificates of SNS come from anywhere",
        "no certificate is fetched but from SNS",
        "services/sms/sns/certificates.py",
        '        return bool(_HOST.fullmatch(parts.hostname or "") and path.fullmatch(parts.path))\n',
        '        return bool(_HOST.search(parts.hostname or ""))\n',
        (f"{_SMS}/test_sns_signature.py::test_addresses_that_only_look_like_those_of_sns",),
    ),
    Mutant(
        "old messages of SNS are new",
        "what was recorded cannot be played again later",
        "services/sms/sns/signature.py",
        "        return -_AHEAD_MOST <= age <= _AGE_MOST\n",
        "        return True\n",
        (f"{_SMS}/test_sns_signature.py::test_age",),
    ),
    # -- links in mails
    Mutant(
        "unsubscribe links never end",
        "a link is good for as long as is said",
        "services/email/unsubscribe_link.py",
        "        if (self._clock() - _DAY_0).days > last_day:\n",
        "        if False:\n",
        (f"{_EMAIL}/test_unsubscribe_link.py::test_good_for_half_a_year",),
    ),
    Mutant(
        "one link has many spellings",
        "a link that was altered is none",
        "services/email/unsubscribe_link.py",
        '    return raw if _text(raw) == token else b""\n',
        "    return raw\n",
        (f"{_EMAIL}/test_unsubscribe_link.py::test_every_other_character_is_seen",),
    ),
    Mutant(
        "who looks at the page is unsubscribed",
        "scanners of mail change nothing",
        "services/email/callbacks.py",
        "        return await _answer(context, unsubscribe_page.ask(self._sender, found[1], _language(context)))\n",
        "        await self._preferences.choose(*found, Channel.EMAIL, on=False)\n"
        "        return await _answer(context, unsubscribe_page.ask(self._sender, found[1], _language(context)))\n",
        ("tests/unit/services/email/test_callbacks.py::test_looking_changes_nothing",),
    ),
    # -- what is called for others
    Mutant(
        "names may lead inside",
        "nobody makes us call a private address",
        "crown/egress.py",
        'all(is_public(one["host"]) for one in found)',
        'any(is_public(one["host"]) for one in found)',
        (f"{_UNIT}/test_egress.py::test_one_private_address_among_others_is_one_too_many",),
    ),
    Mutant(
        "any host may be called",
        "only hosts that were allowed are called",
        "crown/egress.py",
        "        if not any(entry.covers(host, port) for entry in self.entries):\n",
        "        if False:\n",
        (f"{_UNIT}/test_egress.py::test_refused",),
    ),
    Mutant(
        "IPv4 in the clothes of IPv6 is public",
        "a private address has no second name",
        "crown/egress.py",
        "    return found in _GLOBAL_V6 and found.is_global and found not in _SIX_TO_FOUR\n",
        "    return True\n",
        (f"{_UNIT}/test_egress.py::test_not_public",),
    ),
    # -- what is kept from others
    Mutant(
        "altered ciphertext opens",
        "what is stored is what was sealed",
        "crown/vault.py",
        "            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], None)\n"
        "        except (InvalidTag, ValueError) as error:\n",
        "            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], None)\n"
        "        except InvalidTag:\n"
        "            return sealed\n"
        "        except ValueError as error:\n",
        (f"{_UNIT}/test_vault.py::test_an_altered_byte_is_noticed",),
    ),
    Mutant(
        "schedules keep who was erased",
        "an erased person is in no schedule",
        "services/ingest/people/erasure.py",
        "        await self._schedules.forget(user_id, mark.time)\n",
        "",
        ("tests/integration/ingest/test_erasure.py::test_schedules_forget_them",),
    ),
    Mutant(
        "two seals are the same",
        "equal texts cannot be told by their ciphertext",
        "crown/vault.py",
        "        return self.seal_with(os.urandom(_NONCE_BYTES), plain)\n",
        "        return self.seal_with(bytes(_NONCE_BYTES), plain)\n",
        (f"{_UNIT}/test_vault.py::test_nothing_of_it_shows",),
    ),
    Mutant(
        "suppressions keep the address",
        "the list of suppressions names nobody",
        "crown/suppressions.py",
        '        return hmac.digest(self._key, named.encode(), "sha256").hex()[:40]\n',
        "        return named\n",
        ("tests/integration/ingest/test_erasure.py::test_a_suppression_outlives_the_person",),
    ),
    # -- the bus
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
)
