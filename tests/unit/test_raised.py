"""An exception that is raised twice holds on to every frame of both, with what was asked: so none is a constant."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

import crown
import services


def _modules() -> list[ModuleType]:
    names = [
        found.name
        for package in (crown, services)
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        if not found.name.endswith("__main__") and "_pb2" not in found.name
    ]
    return [importlib.import_module(name) for name in names]


def test_no_exception_is_a_constant() -> None:
    kept = [
        f"{module.__name__}.{name}"
        for module in _modules()
        for name, value in vars(module).items()
        if isinstance(value, BaseException)
    ]
    assert kept == []
