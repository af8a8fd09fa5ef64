"""AWS SNS: sending, and what it tells later."""
