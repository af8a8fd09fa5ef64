"""No regular expression of ours takes long, whatever it is shown: each is found in the code or the protos, and tried
on texts made for it, in which each of its repetitions goes on and on and then the text breaks off."""

from __future__ import annotations

import ast
import importlib
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from re import _constants as sre
from re import _parser
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("crown", "services", "gateway", "stack")
# What takes a pattern as its first argument.
TAKERS = {"compile", "match", "fullmatch", "search", "sub", "subn", "split", "findall", "finditer"}
# Who looks for a pattern anywhere in a text tries it at each place of it.
ANYWHERE = {"search", "sub", "subn", "split", "findall", "finditer"}
# Characters of a text, more than any field has; and what one look at it may cost of this process's time.
LENGTHS = (16, 20, 22, 6_000)
LIMIT_S = 0.04
# How the text breaks off.
ENDS = ("", "\0")
# Repetitions that go on for so long are tried.
_MANY = 10
MADE = {"stack.hints", "services.email.templates.compiled"}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "_pb2" not in path.name and path.stem != "__main__":
                name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
                yield name, ast.parse(path.read_text(encoding="utf-8"))


def uses(tree: ast.Module) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "re"
            and node.func.attr in TAKERS
        ):
            yield node


def looks_anywhere(call: ast.Call, tree: ast.Module) -> bool:
    """Whether the pattern is looked for at each place of a text, as far as its own module tells."""
    assert isinstance(call.func, ast.Attribute)
    if call.func.attr != "compile":
        return call.func.attr in ANYWHERE
    names = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and node.value is call
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return any(
        isinstance(node, ast.Attribute)
        and node.attr in ANYWHERE
        and isinstance(node.value, ast.Name)
        and node.value.id in names
        for node in ast.walk(tree)
    )


@dataclass(frozen=True)
class Pattern:
    """A regular expression, and where it stands. `made` is one that is put together as it is needed, so that nobody
    can tell from here what it is."""

    where: str
    text: str | bytes = ""
    flags: int = 0
    anywhere: bool = False
    made: bool = False


def in_code() -> Iterator[Pattern]:
    for name, tree in modules():
        module = vars(importlib.import_module(name))
        for call in uses(tree):
            where = f"{name}:{call.lineno}"
            assert isinstance(call.func, ast.Attribute)
            second = call.args[1] if call.func.attr == "compile" and len(call.args) > 1 else None
            flags = next((one.value for one in call.keywords if one.arg == "flags"), second)
            try:
                pattern = value_of(call.args[0], module)
            except NameError:
                yield Pattern(where, made=True)
                continue
            if isinstance(pattern, str | bytes):
                given = int(value_of(flags, module)) if flags is not None else 0
                yield Pattern(where, pattern, given, looks_anywhere(call, tree))


def value_of(expression: ast.expr, module: dict[str, Any]) -> Any:
    """What an expression of a module comes to. Raises NameError where that depends on who calls."""
    return eval(compile(ast.Expression(expression), "pattern", "eval"), module)


def in_protos() -> Iterator[Pattern]:
    for path in sorted((ROOT / "protos" / "crown").rglob("*.proto")):
        for line in re.findall(r'pattern\s*[=:]\s*("(?:[^"\\]|\\.)*")', path.read_text(encoding="utf-8")):
            yield Pattern(path.name, ast.literal_eval(line))


def sample(node: Any) -> str:
    """A short text that this part of a pattern matches; a wrong one where that cannot be told."""
    kind, given = node
    match kind:
        case sre.LITERAL:
            return chr(given)
        case sre.NOT_LITERAL:
            return "b" if given == ord("a") else "a"
        case sre.ANY:
            return "a"
        case sre.IN:
            return one_of(given)
        case sre.MAX_REPEAT | sre.MIN_REPEAT | sre.POSSESSIVE_REPEAT:
            least, _, inner = given
            return text(inner) * int(least)
        case sre.SUBPATTERN:
            return text(given[-1])
        case sre.ATOMIC_GROUP:
            return text(given)
        case sre.BRANCH:
            return text(given[1][0])
        case _:
            return ""


def one_of(members: Any) -> str:
    """A character of a class."""
    negated = members[0][0] is sre.NEGATE
    parts = members[1:] if negated else members
    for candidate in "a0A-_. /@:+\t\u00e9\x01":
        if any(holds(part, candidate) for part in parts) != negated:
            return candidate
    kind, given = parts[0]
    return chr(given if kind is sre.LITERAL else given[0])


def holds(part: Any, character: str) -> bool:
    kind, given = part
    match kind:
        case sre.LITERAL:
            return bool(ord(character) == given)
        case sre.RANGE:
            return bool(given[0] <= ord(character) <= given[1])
        case sre.CATEGORY:
            tests = {
                sre.CATEGORY_DIGIT: character.isdigit(),
                sre.CATEGORY_SPACE: character.isspace(),
                sre.CATEGORY_WORD: character.isalnum() or character == "_",
                sre.CATEGORY_NOT_DIGIT: not character.isdigit(),
                sre.CATEGORY_NOT_SPACE: not character.isspace(),
                sre.CATEGORY_NOT_WORD: not (character.isalnum() or character == "_"),
            }
            return tests[given]
        case _:
            return False


def text(pattern: Any) -> str:
    return "".join(map(sample, pattern))


def attacks(pattern: Any, before: str = "") -> Iterator[tuple[str, str]]:
    """(what leads to a repetition, what is repeated) for each in the pattern."""
    for kind, given in pattern:
        match kind:
            case sre.MAX_REPEAT | sre.MIN_REPEAT | sre.POSSESSIVE_REPEAT:
                _, most, inner = given
                if most is sre.MAXREPEAT or most >= _MANY:
                    yield from ((before, unit) for unit in units(inner))
                yield from attacks(inner, before)
            case sre.SUBPATTERN:
                yield from attacks(given[-1], before)
            case sre.BRANCH:
                for branch in given[1]:
                    yield from attacks(branch, before)
        before += sample((kind, given))


def units(inner: Any) -> set[str]:
    """What may be repeated: the whole, and each character of it that repeats itself."""
    found = {text(inner)} | {unit for _, unit in attacks(inner)}
    for kind, given in inner:
        if kind in (sre.MAX_REPEAT, sre.MIN_REPEAT):
            found.add(text(given[2]))
    return {unit for unit in found if unit} or {"a"}


def cost_s(look: Any, subject: str | bytes) -> float:
    """Seconds of this process for one look, the best of three: others have the machine as well."""
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        look(subject)
        best = min(best, time.process_time() - began)
        if best < LIMIT_S:
            break
    return best


def slowest(pattern: Pattern) -> tuple[float, str]:
    """The longest that a text made for the pattern took, and that text; the first one above the limit is enough."""
    compiled: Any = re.compile(pattern.text, pattern.flags)
    looks = (compiled.search,) if pattern.anywhere else (compiled.fullmatch, compiled.match)
    worst = (0.0, "")
    for before, unit in sorted({("", "a"), *attacks(_parser.parse(pattern.text, pattern.flags))}):
        for length, end, look in product(LENGTHS, ENDS, looks):
            subject = before + unit * (length // len(unit)) + end
            shown = subject.encode() if isinstance(pattern.text, bytes) else subject
            worst = max(worst, (cost_s(look, shown), f"{before!r} {unit!r} * {length} {end!r}"))
            if worst[0] > LIMIT_S:
                return worst
    return worst


FOUND = (*in_code(), *in_protos())
KNOWN = {(one.text, one.flags, one.anywhere): one for one in FOUND if not one.made}


@pytest.mark.parametrize("pattern", KNOWN.values(), ids=lambda one: one.where)
def test_no_text_keeps_it_busy(pattern: Pattern) -> None:
    seconds, subject = slowest(pattern)
    assert seconds <= LIMIT_S, (pattern, subject)


@pytest.mark.parametrize(
    ("text", "anywhere"),
    [(r"(a+)+b", False), (r"(?:[a-z]+\.?)*x", False), (r"[ab]*[cd]{2}", True)],
)
def test_what_would_be_found(text: str, anywhere: bool) -> None:
    assert slowest(Pattern("here", text, anywhere=anywhere))[0] > LIMIT_S


def test_what_is_made_as_it_is_needed_is_made_of_our_own_words() -> None:
    """Each was looked at: nothing that comes from outside becomes a part of a pattern unescaped."""
    assert {one.where.partition(":")[0] for one in FOUND if one.made} == MADE
