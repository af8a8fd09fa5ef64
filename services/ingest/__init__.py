"""Accepts notifications, decides who gets them where, and keeps the books."""
