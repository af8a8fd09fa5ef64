"""What people want, as they read and write it."""
