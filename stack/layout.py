"""Where a stack keeps its things: one folder per port base, nothing outside it."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from stack.settings import Settings


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths below one stack's folder; `data` is what the servers keep, the rest can be made anew."""

    folder: Path

    @classmethod
    def of(cls, settings: Settings) -> Layout:
        return cls(settings.home / str(settings.ports.base))

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def secrets(self) -> Path:
        return self.folder / "secrets"

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def state(self) -> Path:
        return self.run / "state.json"

    @property
    def lock(self) -> Path:
        return self.run / "supervisor.lock"

    def data(self, server: str) -> Path:
        """The folder in which `server` keeps its data, made where it is missing."""
        folder = self.folder / "data" / server
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def make(self) -> None:
        """Creates the folders. Passwords lie below, so they open for their owner only."""
        for folder in (self.folder, self.logs, self.secrets, self.run):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def write_private(path: Path, text: str) -> None:
    """Writes the file whole or not at all, readable by its owner only from its first byte."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
