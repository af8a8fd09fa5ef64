"""What can go wrong with the stack as such. The message is one clear line: `crown` prints it and exits 1."""

from __future__ import annotations


class StackError(Exception):
    """The stack cannot do what was asked; the message says why and what to change."""


class NotInstalled(StackError):
    """The binary of a server is not on this machine."""

    def __init__(self, binary: str) -> None:
        super().__init__(f"{binary} is not installed here: `make setup` installs it")


class NotReady(Exception):
    """A probe's answer: the process does not serve yet. The message says what it waits for."""


class StartFailed(StackError):
    """A process did not become healthy when the stack came up."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} did not become healthy: {reason}")
        self.name = name
        self.reason = reason
