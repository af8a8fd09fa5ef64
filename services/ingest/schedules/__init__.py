"""Schedules: notifications that are sent at times that a cron expression says."""
