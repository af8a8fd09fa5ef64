"""Changes to what is taken from outside and handed on: fields, links, headers of mails, sizes."""

from __future__ import annotations

from tools.mutants.mutant import Mutant

_UNIT = "tests/unit/crown"
_INTAKE = "tests/unit/services/ingest/intake"
_TEMPLATES = "tests/unit/services/email/templates"

EDGE = (
    Mutant(
        "a link may leave by a backslash",
        "a link of a notification leads into the app or to a host of ours",
        "crown/links.py",
        r'_PATH = re.compile(r"/(?![/\\])")',
        '_PATH = re.compile(r"/")',
        (f"{_UNIT}/test_links.py::test_all_else_is_refused_with_what_is_allowed",),
    ),
    Mutant(
        "a link may name a user before its host",
        "a link of a notification leads where it seems to lead",
        "crown/links.py",
        '    if "@" in parts.netloc or port not in {None, 443}',
        "    if port not in {None, 443}",
        (f"{_UNIT}/test_links.py::test_all_else_is_refused_with_what_is_allowed",),
    ),
    Mutant(
        "hosts that end like ours are ours",
        "only hosts that were allowed stand behind a link",
        "crown/links.py",
        'host.endswith(f".{allowed}")',
        "host.endswith(allowed)",
        (f"{_UNIT}/test_links.py::test_all_else_is_refused_with_what_is_allowed",),
    ),
    Mutant(
        "an address may be several",
        "a mail goes to exactly one address",
        "crown/addresses.py",
        "    except EmailNotValidError as error:\n        return Violation",
        "    except EmailNotValidError as error:\n        return value or Violation",
        (f"{_UNIT}/test_addresses.py::test_no_email",),
    ),
    Mutant(
        "a phone number has any length",
        "a number fits its country",
        "crown/addresses.py",
        "    if not phonenumbers.is_possible_number(number):\n",
        "    if False:\n",
        (f"{_UNIT}/test_addresses.py::test_no_phone",),
    ),
    Mutant(
        "data of any size is accepted",
        "data is bounded",
        "services/ingest/intake/accept.py",
        "    if data.ByteSize() > DATA_MOST_BYTES:\n",
        "    if False:\n",
        (f"{_INTAKE}/test_accept.py::test_links_kind_and_size",),
    ),
    Mutant(
        "kinds that nobody knows are accepted",
        "a kind is one of the catalogue",
        "services/ingest/intake/accept.py",
        "    if request.kind and request.kind not in catalogue.KINDS:\n",
        "    if False:\n",
        (f"{_INTAKE}/test_accept.py::test_links_kind_and_size",),
    ),
    Mutant(
        "a key of JSON may come twice",
        "what is read is what every other parser would read",
        "crown/safe_json.py",
        "    # There is a colon for each member; a key that came twice is one in the dict.\n    return None if",
        "    return None if bare or",
        (f"{_UNIT}/test_safe_json.py::test_a_key_that_comes_twice_is_found_wherever_it_is",),
    ),
    Mutant(
        "JSON nests as deep as it likes",
        "what comes from outside is of a depth that all parts take",
        "crown/safe_json.py",
        "        if depth > DEPTH_MOST:\n",
        "        if False:\n",
        (f"{_UNIT}/test_safe_json.py::test_the_depth_is_that_of_free_form_parts",),
    ),
    Mutant(
        "templates have no sandbox",
        "a template reaches nothing of the process",
        "services/email/templates/sandbox.py",
        "from jinja2.sandbox import ImmutableSandboxedEnvironment",
        "from jinja2 import Environment as ImmutableSandboxedEnvironment",
        (f"{_TEMPLATES}/test_sandbox.py::test_it_says_nothing",),
    ),
    Mutant(
        "values in templates are not escaped",
        "what people write is text in a mail",
        "services/email/templates/sandbox.py",
        "autoescape=markup,",
        "autoescape=False,",
        (f"{_TEMPLATES}/test_compiled.py::test_any_text_is_the_same_text",),
    ),
    Mutant(
        "a renderer has no time limit",
        "a template that never ends costs one second",
        "services/email/templates/renderers.py",
        "            async with asyncio.timeout(WALL_MOST_S):\n",
        "            async with asyncio.timeout(None):\n",
        (f"{_TEMPLATES}/test_renderers.py::test_one_that_gets_no_time_is_replaced",),
        hangs=True,
    ),
    Mutant(
        "a subject may hold lines",
        "no value becomes a header of a mail",
        "services/email/message.py",
        '        if _BREAKS.search("".join((mail.subject, *mail.headers.values()))):\n',
        "        if False:\n",
        ("tests/unit/services/email/test_message.py::test_nothing_breaks_a_header",),
    ),
)
