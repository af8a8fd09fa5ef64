"""The push channel: Firebase Cloud Messaging, and the devices that it reaches."""
