"""Changes to what is believed of those outside: providers who call back, links that return, hosts that are called."""

from __future__ import annotations

from tools.mutants.mutant import Mutant

_UNIT = "tests/unit/crown"
_EMAIL = "tests/unit/services/email"
_SMS = "tests/unit/services/sms"

OUTSIDE = (
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
)
