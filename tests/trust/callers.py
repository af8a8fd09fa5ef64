"""The kinds of caller that there are, and what decides for each."""

from __future__ import annotations

from dataclasses import dataclass

from crown.notification.v1.access_pb2 import AccessRule
from stack.tokens import SCOPES
from tests.e2e.forgery import signed
from tests.e2e.rest import Caller, Rest

OWNER = "owner"
OTHER = "mallory"


@dataclass(frozen=True)
class Kind:
    """One kind of caller, and what decides for it."""

    use: str
    subject: str = ""
    scopes: frozenset[str] = frozenset()

    def may(self, rule: AccessRule, user_id: str = OWNER) -> bool:
        """Whether the rule lets them make a call about this person."""
        narrow = any(scope.startswith(f"{rule.scope}:") for scope in self.scopes)
        limited = rule.not_narrowed not in self.scopes and any(
            scope.startswith(f"{rule.not_narrowed}:") for scope in self.scopes
        )
        return {
            "service": (rule.scope in self.scopes or (rule.by_category and narrow)) and not limited,
            "user": bool(rule.self) and self.subject == user_id,
            "operator": rule.operator,
        }.get(self.use, False)

    def caller(self, rest: Rest) -> Caller:
        """Such a caller."""
        if self.use == "nobody":
            return rest.nobody
        scope = " ".join(self.scopes)
        return rest.holder(signed(rest.stack, use=self.use, sub=self.subject, scope=scope))


KINDS = (
    Kind("nobody"),
    Kind("user", OWNER),
    Kind("user", OTHER),
    # Scopes are for services; a person who has got some is still a person.
    Kind("user", OTHER, frozenset(SCOPES)),
    Kind("operator", "olga"),
    Kind("service", OWNER),
    *(Kind("service", "feed", frozenset([scope])) for scope in SCOPES),
    *(Kind("service", "feed", frozenset(SCOPES) - {scope}) for scope in SCOPES),
    # A scope for one category is none where no rule says so.
    Kind("service", "feed", frozenset(f"{scope}:social" for scope in SCOPES)),
    # Who may send of one category does nothing that has none, whatever else they may.
    Kind("service", "feed", frozenset(SCOPES) - {"notifications.send"} | {"notifications.send:social"}),
    Kind("service", "feed", frozenset(SCOPES) | {"notifications.send:social"}),
)
