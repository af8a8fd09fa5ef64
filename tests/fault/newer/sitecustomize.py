"""Makes the processes of a stack the next version of themselves: Python imports this at its start, where PYTHONPATH
says so. In the folder PYTHON_NEWER lies a file for the port of each process that is to be newer. Such a one
understands one version more, and has every third notification need it: on the intake, as deliveries, as outcomes."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

VERSION = 2
# What is parked comes again soon, for newer and older ones alike.
MOST_S = 4.0


def is_new(notification_id: str) -> bool:
    """Whether only newer code may work on it."""
    return int(notification_id[:8], 16) % 3 == 0


def _marked(kind: Any, data: bytes) -> bytes:
    event = kind.FromString(data)
    if is_new(event.notification_id):
        event.needs_version = VERSION
    return bytes(event.SerializeToString())


def _intake(module: Any) -> None:
    from crown.notification.v1.events_pb2 import IntakeEvent

    real = module.resolve

    def resolve(*given: Any, **named: Any) -> Any:
        accepted = real(*given, **named)
        return replace(accepted, parts=[_marked(IntakeEvent, part) for part in accepted.parts])

    module.resolve = resolve


def _outgoing(module: Any, name: str, kind: str) -> None:
    from crown.notification.v1 import events_pb2

    real = getattr(module, name)

    def made(*given: Any) -> Any:
        message = real(*given)
        return replace(message, data=_marked(getattr(events_pb2, kind), message.data))

    setattr(module, name, made)


def _impatient(module: Any) -> None:
    module.MOST_S = MOST_S


def _wise(module: Any) -> None:
    module.VERSION = VERSION
    _impatient(module)


OLDER: dict[str, Callable[[Any], None]] = {"crown.newer": _impatient}
NEWER: dict[str, Callable[[Any], None]] = {
    "crown.newer": _wise,
    "services.ingest.intake.accept": _intake,
    "services.ingest.dispatch.messages": lambda module: _outgoing(module, "delivery", "DeliveryEvent"),
    "crown.notices": lambda module: _outgoing(module, "outcome", "OutcomeEvent"),
}


class Changing(importlib.abc.MetaPathFinder):
    """Changes modules as they are imported."""

    def __init__(self, changes: dict[str, Callable[[Any], None]]) -> None:
        self._changes = dict(changes)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        change = self._changes.pop(fullname, None)
        if change is None:
            return None
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return None
        loader: Any = spec.loader
        real = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            real(module)
            change(module)

        loader.exec_module = exec_module
        return spec


if "PYTHON_NEWER" in os.environ and "CROWN_GRPC_PORT" in os.environ:
    flag = Path(os.environ["PYTHON_NEWER"], os.environ["CROWN_GRPC_PORT"])
    sys.meta_path.insert(0, Changing(NEWER if flag.exists() else OLDER))
