"""DeviceService: the devices that push messages go to."""

from __future__ import annotations

from crown import ids
from crown.clock import Clock, now, timestamp
from crown.door import Context
from crown.notification.v1 import device_service_pb2 as pb
from crown.notification.v1.types_pb2 import DeviceKind
from crown.recipients import Device, Recipients


class DeviceService:
    """The servicer."""

    def __init__(self, recipients: Recipients, clock: Clock = now) -> None:
        self._recipients = recipients
        self._clock = clock

    async def RegisterDevice(
        self, request: pb.RegisterDeviceRequest, _context: Context
    ) -> pb.RegisterDeviceResponse:
        """Stores the device; the same token again is the same device."""
        moment = self._clock()
        device = Device(
            id=ids.device(request.token),
            user_id=request.user_id,
            token=request.token,
            kind=request.kind or DeviceKind.TOKEN,
            platform=request.platform,
            create_time=moment,
            last_seen_time=moment,
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


def _told(device: Device) -> pb.Device:
    """The device as the app sees it: its token is not told."""
    return pb.Device(
        device_id=device.id,
        user_id=device.user_id,
        kind=device.kind,
        platform=device.platform,
        create_time=timestamp(device.create_time),
        last_seen_time=timestamp(device.last_seen_time),
    )
