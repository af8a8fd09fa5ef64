"""The SMS channel: Twilio."""
