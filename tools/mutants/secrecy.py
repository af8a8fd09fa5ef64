"""Changes to what is kept from others: what logs say, what is sealed, and by which key."""

from __future__ import annotations

from tools.mutants.mutant import Mutant

_UNIT = "tests/unit/crown"

SECRECY = (
    # -- what is logged
    Mutant(
        "logs say what an exception says",
        "no text of an exception is logged",
        "crown/backtrace.py",
        '    return getattr(type(error), "safe_text", False) is True\n',
        "    return True\n",
        (f"{_UNIT}/test_backtrace.py::test_no_text_is_told",),
    ),
    Mutant(
        "an exception is rendered as Python does",
        "a traceback is told without its text",
        "crown/logs.py",
        "            without_text,\n",
        "            structlog.processors.format_exc_info,\n",
        (f"{_UNIT}/test_logs.py::test_an_exception_is_told_without_its_text",),
    ),
    Mutant(
        "an exception that is a value says what it says",
        "an exception is no value of a line",
        "crown/logs.py",
        "    return backtrace.name(type(value)) if isinstance(value, BaseException) else str(value)\n",
        "    return str(value)\n",
        (f"{_UNIT}/test_logs.py::test_an_exception_is_told_without_its_text",),
    ),
    Mutant(
        "words of libraries are kept as they come",
        "of a library's line only what stands in its code is kept",
        "crown/uncaught.py",
        '    return record.msg if frame is not None and record.msg in frame.f_code.co_consts else ""\n',
        "    return record.getMessage()\n",
        (f"{_UNIT}/test_uncaught.py::test_a_warning_of_a_library",),
    ),
    Mutant(
        "what ends a process is printed",
        "what nobody caught is logged without its text",
        "crown/uncaught.py",
        "    sys.excepthook = _uncaught\n",
        "",
        (f"{_UNIT}/test_uncaught.py::test_what_ends_the_process",),
    ),
    Mutant(
        "the loop tells in its own way",
        "what nobody waits for is logged without its text",
        "crown/uncaught.py",
        "    asyncio.get_running_loop().set_exception_handler(loop_told)\n",
        "    asyncio.get_running_loop()\n",
        (f"{_UNIT}/test_uncaught.py::test_a_task_that_nobody_waits_for",),
    ),
    # -- what is kept from others
    Mutant(
        "altered ciphertext opens",
        "what is stored is what was sealed",
        "crown/vault.py",
        '        raise VaultError("cannot be opened with this key")\n',
        "        return sealed\n",
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
    # -- keys that are changed
    Mutant(
        "the data key opens nothing once another seals",
        "what was sealed before a change of the key opens after it",
        "crown/vault.py",
        "        self._ciphers = [AESGCM(one) for one in dict.fromkeys((*sealing, raw))]\n",
        "        self._ciphers = [AESGCM(one) for one in sealing or [raw]]\n",
        (f"{_UNIT}/test_vault.py::test_old_data_opens_through_every_step_of_a_change",),
    ),
    Mutant(
        "hashes follow from the key that seals",
        "suppressions and erasures are found after a change of the key",
        "crown/vault.py",
        "        self.raw = raw\n",
        "        self.raw = next(iter(sealing), raw)\n",
        (f"{_UNIT}/test_vault.py::test_hashes_stay_what_they_are",),
    ),
)
