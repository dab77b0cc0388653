"""Arrays of a store that say their name, and what to do, where a chunk cannot be decoded."""

from typing import Any

from dvis.schema import SchemaError


class NamedArray:
    """A Zarr array, but for the error of a damaged chunk, which a write to a part of it reads."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def __getitem__(self, key: Any) -> Any:
        try:
            return self._array[key]
        except (RuntimeError, ValueError) as err:
            raise self._damaged(err) from err

    def __setitem__(self, key: Any, values: Any) -> None:
        try:
            self._array[key] = values
        except RuntimeError as err:
            raise self._damaged(err) from err

    def __getattr__(self, name: str) -> Any:
        return getattr(self._array, name)

    def _damaged(self, err: Exception) -> SchemaError:
        return SchemaError(
            f"A chunk of the array {self._array.path} is damaged: {err}. `dvis check` on the store "
            "says what lies in it, `dvis check --fix` mends it"
        )
