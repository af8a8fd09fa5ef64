"""The realtime service: sockets that speak Phoenix Channels, and live streams for programs."""
