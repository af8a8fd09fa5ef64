"""Digests: what a person wants to hear together, as one message on one channel."""
