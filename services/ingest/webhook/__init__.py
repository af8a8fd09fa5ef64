"""Telling senders what became of what they sent: rows, and the engine that brings them there."""
