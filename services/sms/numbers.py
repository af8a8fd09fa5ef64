"""Which numbers texts may go to, and who they come from there. Pure. Judged by the lists of phonenumbers, which lag
behind the world by weeks: a number that they do not know is judged by its country alone.

| refused                                                    | reason                    |
| ---------------------------------------------------------- | ------------------------- |
| no number of a country, or of one that is not on the list  | COUNTRY_NOT_ALLOWED       |
| premium rate, shared cost, toll-free, pager, voicemail,    | NUMBER_TYPE_NOT_ALLOWED   |
| personal (except in North America), company-wide           |                           |
| a number that we send from                                 | OWN_NUMBER                |"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache

import phonenumbers
from phonenumbers import PhoneNumber, PhoneNumberType

# Those that cost whoever texts them more than others, often for the good of their owner, and those that show no text.
_REFUSED = {
    PhoneNumberType.PREMIUM_RATE,
    PhoneNumberType.SHARED_COST,
    PhoneNumberType.TOLL_FREE,
    PhoneNumberType.PAGER,
    PhoneNumberType.UAN,
    PhoneNumberType.VOICEMAIL,
}
# Personal numbers forward to others at a price of their own. In North America they cost what all others do.
_NORTH_AMERICA = 1
# What phonenumbers says where there is no such code at all.
_NOWHERE = "ZZ"


class Numbers:
    """`countries` are those that texts go to, as ISO 3166 codes; `senders` names who they come from in some of them,
    `sender` in all others."""

    def __init__(self, countries: Collection[str], senders: Mapping[str, str], sender: str) -> None:
        self._countries = frozenset(countries)
        self._senders = dict(senders)
        self._sender = sender
        self._own = {sender, *senders.values()}

    def country(self, number: str) -> str:
        """The country of a number in E.164 form; empty where it is none of a country, such as a satellite's."""
        return _look(number)[0]

    def sender(self, country: str) -> str:
        """Who texts to `country` come from."""
        return self._senders.get(country, self._sender)

    def refusal(self, number: str) -> str:
        """Why nothing is sent to a number in E.164 form; empty where it may be."""
        country, dear = _look(number)
        if country not in self._countries:
            return "COUNTRY_NOT_ALLOWED"
        if dear:
            return "NUMBER_TYPE_NOT_ALLOWED"
        return "OWN_NUMBER" if number in self._own else ""


# A number is asked about several times on its way, each of which would take a tenth of what a whole text does.
@lru_cache(maxsize=1_024)
def _look(number: str) -> tuple[str, bool]:
    """The country, and whether the number is of a type that is refused."""
    parsed = phonenumbers.parse(number, None)
    kind = phonenumbers.number_type(parsed)
    personal = kind == PhoneNumberType.PERSONAL_NUMBER and parsed.country_code != _NORTH_AMERICA
    return _country(parsed), kind in _REFUSED or personal


def _country(number: PhoneNumber) -> str:
    found = phonenumbers.region_code_for_number(number)
    code = number.country_code or 0
    if found is None and code != _NORTH_AMERICA:
        # In no range that is known: of those that share the code, the main country. In North America it is not
        # guessed, since some who share that code are dear.
        found = phonenumbers.region_code_for_country_code(code)
    return found if found and found.isalpha() and found != _NOWHERE else ""
