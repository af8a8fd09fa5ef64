"""Twilio: sending, and what it tells later."""
