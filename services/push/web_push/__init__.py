"""Browsers' own push services, without Firebase."""
