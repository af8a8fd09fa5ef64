"""Groups, listed a page at a time. A listing is one intake message, which travels: whoever gets it reads the next
page of members, and puts onto the same lane, all or nothing, the page as an order to people who are named, and the
listing as it goes on behind it. So no process ever holds more than some pages, pages are worked side by side, and a
page that was put there is the same people however often it is worked.

A listing may come several times. Its publishes have ids that the bus knows for two minutes; and after them the
notification notes how far it is listed, so that a listing that lags behind ends there. Beyond that, it is the ids
of the ledger that keep a person from getting it twice."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from itertools import groupby

from crown import failpoint, subjects, tracing
from crown.bus import Bus, BusError, Outgoing
from crown.clock import moment
from crown.groups import Groups
from crown.notification.v1.events_pb2 import IntakeEvent
from crown.store import Database, Document
from services.ingest.dispatch.orders import Order, is_listing

PAGE = 1_000
# JetStream's code for a batch that is stored already.
_DUPLICATE_BATCH = 10201


class Audiences:
    """Goes on with listings."""

    def __init__(self, bus: Bus, db: Database) -> None:
        self._bus = bus
        self._groups = Groups(db)
        self._notifications = db.notifications

    async def advance(self, orders: Sequence[Order], standing: Mapping[str, Document]) -> None:
        """Each listing among `orders` by a page. `standing` are their notifications as the store has them."""
        wanted = [order for order in orders if is_listing(order.event)]
        await asyncio.gather(
            *(self._advance(order, standing[order.event.notification_id]) for order in wanted)
        )

    async def _advance(self, order: Order, document: Document) -> None:
        event = order.event
        if not document.get("listing") or document.get("place", "") > _place(event):
            return  # another one is further
        if document.get("cancel_time"):
            await self._end(event.notification_id, event.audience.listed)
            return
        people, following = await self._page(event)
        listed = event.audience.listed + len(people)
        await self._publish(order, people, following)
        failpoint.reach("audience.after_publish")
        if following is None:
            await self._end(event.notification_id, listed)
        else:
            await self._notifications.update_one(
                {"_id": event.notification_id, "listing": True}, {"$max": {"place": _place(following)}}
            )

    async def _page(self, event: IntakeEvent) -> tuple[list[str], IntakeEvent | None]:
        """The people of the next page, and the listing as it goes on; None where it is at its end."""
        audience = event.audience
        group_id = audience.group_ids[audience.position]
        group = await self._groups.group(group_id)
        # A group that there is not has nobody in it.
        found = await self._groups.user_ids(group, PAGE, audience.after) if group else []
        people = await self._without(event, found)
        following = IntakeEvent()
        following.CopyFrom(event)
        following.audience.listed += len(people)
        if len(found) == PAGE:
            following.audience.after = found[-1]
            return people, following
        following.audience.after = ""
        following.audience.position += 1
        return people, following if following.audience.position < len(audience.group_ids) else None

    async def _without(self, event: IntakeEvent, found: Sequence[str]) -> list[str]:
        """Those of `found` who are not left out, and whom no earlier group has."""
        audience = event.audience
        earlier = audience.group_ids[: audience.position]
        # Who joined an earlier group later than this was sent may not be listed there: better twice here.
        since = moment(event.create_time)
        listed = await asyncio.gather(*(self._groups.among(group_id, found, since) for group_id in earlier))
        out = set(audience.exclude_user_ids).union(*listed)
        return [user_id for user_id in found if user_id not in out]

    async def _publish(self, order: Order, people: Collection[str], following: IntakeEvent | None) -> None:
        event = order.event
        place = f"{event.notification_id}:{_place(event)}"
        found = []
        if people:
            found.append(self._message(order, _order(event, people), f"{place}:page"))
        if following is not None:
            found.append(self._message(order, following, f"{place}:next"))
        failpoint.reach("audience.before_publish")
        if found:
            try:
                await self._bus.publish_batch(found)
            except BusError as error:
                if error.err_code != _DUPLICATE_BATCH:
                    raise

    def _message(self, order: Order, event: IntakeEvent, message_id: str) -> Outgoing:
        headers = {tracing.HEADER: order.trace, "Nats-Msg-Id": message_id}
        subject = subjects.intake(subjects.LANES[event.priority])
        return Outgoing(subject, event.SerializeToString(), headers)

    async def _end(self, notification_id: str, listed: int) -> None:
        change = {"$set": {"recipient_count": listed}, "$unset": {"listing": True, "place": True}}
        await self._notifications.update_one({"_id": notification_id, "listing": True}, change)

    async def note_twice(self, rows: Collection[Document], pages: Mapping[str, int | None]) -> None:
        """People whom two pages have, since they joined or left one of the groups meanwhile, are counted once.
        `rows` stood already when a page was to write them, and `pages` says which by the row's id."""
        elsewhere = [row for row in rows if pages.get(row["_id"]) not in (None, row.get("page"))]
        places = sorted((row["notification_id"], pages[row["_id"]]) for row in elsewhere)
        for (notification_id, number), twice in groupby(places):
            # By page, so that it is the same however often the page is worked.
            change = {"$set": {f"twice.{number}": len(list(twice))}}
            await self._notifications.update_one({"_id": notification_id}, change)


def _order(event: IntakeEvent, people: Collection[str]) -> IntakeEvent:
    """The page as an order to its people."""
    made = IntakeEvent()
    made.CopyFrom(event)
    made.user_ids.extend(people)
    made.ClearField("audience")
    made.audience.listed = event.audience.listed
    # Also the first one, where it is 0.
    made.audience.SetInParent()
    return made


def _place(event: IntakeEvent) -> str:
    """Where a listing is. Places sort as listings go."""
    return f"{event.audience.position:02}/{event.audience.after}"
