"""DeviceService: the devices that push messages go to."""

from __future__ import annotations

from collections.abc import Mapping

from crown import ids, zones
from crown.clock import Clock, now, timestamp
from crown.door import Check, Context
from crown.egress import Egress
from crown.errors import Violation
from crown.notification.v1 import device_service_pb2 as pb
from crown.notification.v1.types_pb2 import DeviceKind
from crown.recipients import Device, Recipients
from services.push import subscription


class DeviceService:
    """The servicer. `egress` are the browsers' push services that may be called; None: no browser registers."""

    def __init__(self, recipients: Recipients, egress: Egress | None = None, clock: Clock = now) -> None:
        self._recipients = recipients
        self._egress = egress
        self._clock = clock

    def checks(self) -> Mapping[str, Check]:
        """What the door checks beside the rules in the protos, by method."""
        return {"RegisterDevice": self._problems}

    async def RegisterDevice(
        self, request: pb.RegisterDeviceRequest, _context: Context
    ) -> pb.RegisterDeviceResponse:
        """Stores the device; the same token again is the same device, and what is left out is forgotten."""
        moment = self._clock()
        device = Device(
            id=ids.device(request.token),
            user_id=request.user_id,
            token=request.token,
            kind=request.kind or DeviceKind.TOKEN,
            platform=request.platform,
            create_time=moment,
            last_seen_time=moment,
            locale=request.locale,
            time_zone=request.time_zone,
            p256dh=request.web_push.p256dh,
            auth=request.web_push.auth,
        )
        return pb.RegisterDeviceResponse(device=_told(await self._recipients.put_device(device)))

    async def ListDevices(self, request: pb.ListDevicesRequest, _context: Context) -> pb.ListDevicesResponse:
        """The person's devices."""
        found = await self._recipients.devices(request.user_id)
        return pb.ListDevicesResponse(devices=[_told(device) for device in found])

    async def DeleteDevice(
        self, request: pb.DeleteDeviceRequest, _context: Context
    ) -> pb.DeleteDeviceResponse:
        """Removes the device; one that is not there is removed already."""
        await self._recipients.delete_device(request.user_id, request.device_id)
        return pb.DeleteDeviceResponse()

    def _problems(self, request: pb.RegisterDeviceRequest) -> list[Violation]:
        found = subscription.problems(request.kind, request.token, request.web_push, self._egress)
        if zone := zones.problem(request.time_zone, "time_zone"):
            found.append(zone)
        return found


def _told(device: Device) -> pb.Device:
    """The device as the app sees it: neither token nor keys are told."""
    return pb.Device(
        device_id=device.id,
        user_id=device.user_id,
        kind=device.kind,
        platform=device.platform,
        create_time=timestamp(device.create_time),
        last_seen_time=timestamp(device.last_seen_time),
        locale=device.locale,
        time_zone=device.time_zone,
    )
