"""What was deferred, when its time comes."""
