"""The things last asked for, kept while what they were read from is the same."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

Kept = TypeVar("Kept")


class Recent(Generic[Kept]):
    """The things last asked for, at most so many, each for as long as its key is the same."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, tuple[Hashable, Kept]] = OrderedDict()
        self._lock = Lock()

    def get(self, name: Hashable, key: Hashable, make: Callable[[], Kept]) -> Kept:
        """What was made under this name and key, or else is made now."""
        found = self.find(name, key)
        if found is None:
            found = make()
            self.put(name, key, found)
        return found

    def find(self, name: Hashable, key: Hashable) -> Kept | None:
        """What is kept under a name, if its key is the same."""
        with self._lock:
            found = self._kept.get(name)
            if found is None or found[0] != key:
                return None
            self._kept.move_to_end(name)
            return found[1]

    def put(self, name: Hashable, key: Hashable, made: Kept) -> None:
        """Keep something, in place of what has this name."""
        with self._lock:
            self._kept[name] = key, made
            self._kept.move_to_end(name)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
