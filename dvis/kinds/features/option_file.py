"""A YAML file of options, and a preset: read, and held against the options that there are."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from dvis.kinds.features.options import (
    FeatureSettings,
    Preset,
    VisualizeOptions,
    feature_settings,
)
from dvis.schema import did_you_mean


def options_from(
    preset: Preset | None, config: Path | None
) -> tuple[dict[str, Any], FeatureSettings]:
    """Options of a YAML file, and settings of a preset as that file changes it.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    KeyError, ValueError
        When the file has an option that is none, or is no table of options.
    """
    given = {} if config is None else _read_config(config)
    preset = preset or given.get("preset", "default")
    of_settings = {item.name for item in fields(FeatureSettings)} - {"preset"}
    of_command = {item.name for item in fields(VisualizeOptions)} - {"settings"}
    for name in given:
        if name not in of_settings | of_command | {"preset"}:
            known = sorted(of_settings | of_command)
            raise KeyError(did_you_mean("option", name, known, str(config)))
    _check_types(given, f"{config}")
    settings = feature_settings(preset, {n: v for n, v in given.items() if n in of_settings})
    return {name: value for name, value in given.items() if name in of_command}, settings


def _check_types(given: Mapping[str, Any], config: str) -> None:
    """See that values of an option file have the types of the options' defaults."""
    items = [item for kind in (FeatureSettings, VisualizeOptions) for item in fields(kind)]
    for item in items:
        value, default = given.get(item.name), item.default
        wanted = (float, int) if isinstance(default, float) else (type(default),)
        is_plain = isinstance(default, bool | int | float | str)
        if value is not None and is_plain and type(value) not in wanted:
            raise ValueError(
                f"{config}: {item.name} is {value!r}; give a value such as {default!r}"
            )


def _read_config(path: Path) -> dict[str, Any]:
    import yaml

    try:
        given = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise FileNotFoundError(f"no option file {path}; give --config a YAML file") from None
    except yaml.YAMLError as err:
        raise ValueError(f"{path} is no YAML: {' '.join(str(err).split())}") from err
    if not isinstance(given, dict):
        what = "nothing" if given is None else repr(given)
        raise ValueError(f"{path} holds {what}; write one `option: value` a line")
    names = {str(name).replace("-", "_"): value for name, value in given.items()}
    return {"layers" if name == "layer_names" else name: value for name, value in names.items()}
