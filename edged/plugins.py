"""Finds what a config names: a module of one of our folders, or an entry point of another package."""

import importlib
import importlib.util
import pkgutil
from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def names(folder: Iterable[str], group: str) -> list[str]:
    """All there is: the modules of our folder (those with a leading `_` aside) and the entry points of a group."""
    from importlib.metadata import entry_points  # 28 ms, and no config of our own parts needs it

    own = {module.name.replace("_", "-") for module in pkgutil.iter_modules(folder) if module.name[0] != "_"}
    return sorted(own | {point.name for point in entry_points(group=group)})


def find(package: str, group: str, name: str, kind: type[T]) -> type[T] | None:
    """The plug-in of that name: the class in `package`'s module of the name, else the entry point's; or None."""
    module_name = f"{package}.{name.replace('-', '_')}"
    if name.replace("-", "").isalnum() and importlib.util.find_spec(module_name) is not None:
        module = importlib.import_module(module_name)
        return next(
            item
            for item in vars(module).values()
            if isinstance(item, type) and issubclass(item, kind) and item.__module__ == module_name
        )
    from importlib.metadata import entry_points  # see above

    for point in entry_points(group=group, name=name):
        loaded = point.load()
        if not (isinstance(loaded, type) and issubclass(loaded, kind)):
            raise TypeError(f"entry point {point.value} of {group} is no {kind.__name__}")
        return loaded
    return None
