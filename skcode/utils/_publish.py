"""Public places of classes, which files and messages name."""

from __future__ import annotations

import sys


def publish(package: str) -> None:
    """Let the classes in the `__all__` of a package say that this is their module.

    pickle writes down the module of a class, and looks it up when the file is read: the private
    module that a class is written in may move in between, its package may not. Every package whose
    objects users hold ends with ``publish(__name__)``.
    """
    module = sys.modules[package]
    for name in module.__all__:
        thing = getattr(module, name)
        if isinstance(thing, type) and thing.__module__.startswith(f"{package}."):
            thing.__module__ = package
