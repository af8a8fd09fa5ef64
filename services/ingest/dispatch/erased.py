"""People who were erased after an order for them was accepted: they get nothing of it and do not come back by it. The
sender's books have a row all the same, which names nobody."""

from __future__ import annotations

from crown.clock import moment
from crown.erasures import ERASED, Erasures, covers, is_pseudonym
from crown.notification.v1.types_pb2 import DeliveryState
from crown.store import Database
from crown.vault import Key
from services.ingest.decide import Decision
from services.ingest.dispatch.orders import Order


def decide(orders: list[Order]) -> None:
    """Whatever was decided for people with pseudonyms: they get nothing."""
    for order in orders:
        nothing: list[Decision] = []
        for user_id in order.decisions:
            if is_pseudonym(user_id):
                nothing = nothing or [
                    Decision(channel, DeliveryState.SUPPRESSED, ERASED) for channel in order.event.channels
                ]
                order.decisions[user_id] = nothing


class Erased:
    """Looks who of the people of some orders was erased since."""

    def __init__(self, db: Database, data_key: Key) -> None:
        self._erasures = Erasures(db, data_key)

    async def rename(self, orders: list[Order], keys: dict[str, Key] | None = None) -> None:
        """Puts a pseudonym in the place of each of them, with a key in `keys` that nobody keeps. To be called before
        keys are made, so that no erased person gets one, and once more after: for who was erased meanwhile."""
        if not orders:
            return
        oldest = min(moment(order.event.create_time) for order in orders)
        people = {user_id for order in orders for user_id in order.event.user_ids}
        times = await self._erasures.among(people, oldest)
        if not times:
            return
        for order in orders:
            accept_time = moment(order.event.create_time)
            for place, user_id in enumerate(order.event.user_ids):
                if covers(times, user_id, accept_time):
                    pseudonym = self._erasures.pseudonym(order.event.notification_id, user_id)
                    order.event.user_ids[place] = pseudonym
                    if keys is not None:
                        keys[pseudonym] = Key.fresh()
