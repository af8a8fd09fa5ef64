"""The services, a process each. Imported as `services.<name>`: this folder must never stand on a path,
because `services/email` would then shadow the standard library's `email`."""
