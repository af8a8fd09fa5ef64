"""SendGrid: sending, and what it tells later."""
