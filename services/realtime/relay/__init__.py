"""The relay: listens to WebSocket feeds of others and makes notifications of their events. It opens no sockets
for people; a process of its own beside the realtime service, `python -m services.realtime.relay`."""
