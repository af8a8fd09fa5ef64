"""Where templates run: Jinja2's immutable sandbox, made smaller. Of filters, tests and methods there are
those that are listed here; what could grow without bound is bounded. A loop can still take for ever, so that
what others wrote runs in a process of its own: renderer.py."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from jinja2 import StrictUndefined, filters, pass_context, pass_eval_context
from jinja2 import tests as jinja_tests
from jinja2.exceptions import SecurityError
from jinja2.nodes import EvalContext
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup, escape

from crown.rendering import Links

SUBJECT_MOST_CHARS = 200
RANGE_MOST = 1_000
REPEAT_MOST_CHARS = 10_000
# The name under which templates find how links are rendered; no template can write it.
LINKS = "crown links"

_FILTERS = (
    "abs", "batch", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float", "int",
    "items", "join", "last", "length", "list", "lower", "max", "min", "replace", "reverse", "round", "slice",
    "sort", "string", "sum", "title", "trim", "truncate", "unique", "upper", "urlencode", "wordcount",
)  # fmt: skip
_TESTS = (
    "boolean", "defined", "divisibleby", "eq", "equalto", "even", "false", "float", "ge", "gt", "greaterthan", "in",
    "integer", "iterable", "le", "lessthan", "lower", "lt", "mapping", "ne", "none", "number", "odd", "sequence",
    "string", "true", "undefined", "upper",
)  # fmt: skip
# Of values, which are texts, numbers, truth values, lists and objects.
_METHODS = {
    "endswith", "get", "items", "keys", "lower", "lstrip", "rstrip", "split", "splitlines", "startswith", "strip",
    "title", "upper", "values",
}  # fmt: skip
_LINE_ENDS = re.compile(r"\r\n|[\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_NO_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(("*", "**", "%"))

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, str | dict | list | int | float) and attr not in _METHODS:
            return False
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> None:
        """None: no text is formatted by itself."""

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        numbers = isinstance(left, int | float) and isinstance(right, int | float)
        if operator == "*" and not numbers:
            return _repeated(left, right)
        if operator == "**" or not numbers:
            raise SecurityError(f"{operator} is not for templates")
        return super().call_binop(context, operator, left, right)


def _repeated(left: Any, right: Any) -> Any:
    text, times = (right, left) if isinstance(left, int) else (left, right)
    if not isinstance(text, str) or not isinstance(times, int) or len(text) * times > REPEAT_MOST_CHARS:
        raise SecurityError("* repeats too much")
    return text * times


def _range(*given: int) -> range:
    found = range(*given)
    if len(found) > RANGE_MOST:
        raise SecurityError(f"range() is longer than {RANGE_MOST}")
    return found


def paragraphs(text: object) -> list[str]:
    """The paragraphs of a text: an empty line parts two, a line break stays one."""
    lines = _LINE_ENDS.sub("\n", str(text))
    return [block.strip("\n") for block in re.split(r"\n[ \t]*\n", lines) if block.strip()]


@pass_eval_context
def breaks(context: EvalContext, text: object) -> str:
    """A text whose line breaks show in HTML."""
    lines = _LINE_ENDS.sub("\n", str(text))
    return escape(lines).replace("\n", Markup("<br>")) if context.autoescape else lines


def first_line(text: object) -> str:
    """The first line that says something, cut to the length of a subject."""
    line = next((line.strip() for line in str(text).splitlines() if line.strip()), "")
    line = _NO_TEXT.sub(" ", line)
    return line if len(line) <= SUBJECT_MOST_CHARS else f"{line[: SUBJECT_MOST_CHARS - 1]}…"


def initial(text: object) -> str:
    """The letter that stands for a name."""
    return next((character.upper() for character in str(text) if character.isalnum()), "")


@pass_context
def link(context: Context, url: object) -> str:
    """`url` where a link may lead, else nothing; addresses that were seen to before pass."""
    known = {context.get("action_url"), context.get("image_url"), context.get("unsubscribe_url")}
    if url in known:
        return str(url)
    links = context.get(LINKS)
    return links.action(str(url)) if isinstance(links, Links) else ""


def _shown(value: Any) -> Any:
    """A value as it is printed: numbers of JSON are all floats, and nothing is nothing."""
    if value is None:
        return ""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _environment(*, markup: bool) -> _Environment:
    made = _Environment(
        undefined=StrictUndefined, autoescape=markup, finalize=_shown, auto_reload=False, cache_size=0,
    )  # fmt: skip
    mine: dict[str, Callable[..., Any]] = {
        "paragraphs": paragraphs, "breaks": breaks, "first_line": first_line, "initial": initial, "link": link,
    }  # fmt: skip
    made.filters = {name: filters.FILTERS[name] for name in _FILTERS} | mine
    made.tests = {name: jinja_tests.TESTS[name] for name in _TESTS}
    made.globals = {"range": _range}
    return made


# For HTML: whatever is printed is escaped.
MARKUP = _environment(markup=True)
# For subject, preheader and plain text.
PLAIN = _environment(markup=False)
