"""A store's folder as Zarr writes to it, with no way out of it.

Zarr follows symbolic links. Here a key to which one leads is neither written nor removed, so that
a store that somebody else made, or has changed since it was looked at, is written inside itself.
The file at its root is stamped with its checksum.
"""

from zarr.abc.buffer import Buffer
from zarr.storage import LocalStore

from dvis.disk import inside
from dvis.store.root_file import ROOT, stamped


class GuardedStore(LocalStore):
    """Files of a store on a local disk; ValueError for a key to which a symbolic link leads."""

    async def set(self, key: str, value: Buffer) -> None:
        """Write a key."""
        self._require_inside(key)
        await super().set(key, _stamped(key, value))

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write a key that is not there yet."""
        self._require_inside(key)
        await super().set_if_not_exists(key, _stamped(key, value))

    def set_sync(self, key: str, value: Buffer) -> None:
        """Write a key."""
        self._require_inside(key)
        super().set_sync(key, _stamped(key, value))

    async def delete(self, key: str) -> None:
        """Remove a key."""
        self._require_inside(key)
        await super().delete(key)

    def delete_sync(self, key: str) -> None:
        """Remove a key."""
        self._require_inside(key)
        super().delete_sync(key)

    async def delete_dir(self, prefix: str) -> None:
        """Remove all keys below a prefix."""
        self._require_inside(prefix)
        await super().delete_dir(prefix)

    def _require_inside(self, key: str) -> None:
        inside(self.root, key.rstrip("/"))


def _stamped(key: str, value: Buffer) -> Buffer:
    return type(value).from_bytes(stamped(value.to_bytes())) if key == ROOT else value
