"""A plugin's configuration: a dataclass, its JSON Schema, and values of it."""

from __future__ import annotations

import dataclasses
import types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


class ConfigError(Exception):
    """Why a plugin does not start with this configuration, in words for the person who wrote it. Raised by a plugin's
    `__init__`, it keeps the pipeline from starting, and is shown."""


def schema(of: Any) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a type: a dataclass, str, int, float, bool, None, Any, a Literal, and lists, dicts with
    str keys, and unions of those."""
    if of is Any:
        return {}
    if of in _PLAIN:
        return {"type": _PLAIN[of]}
    if dataclasses.is_dataclass(of):
        return _dataclass_schema(of)
    origin, arguments = get_origin(of), get_args(of)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [schema(each) for each in arguments]}
    if origin is list or of is list:
        return {"type": "array", "items": schema(arguments[0])} if arguments else {"type": "array"}
    if origin is dict or of is dict:
        return {"type": "object", "additionalProperties": schema(arguments[1])} if arguments else {"type": "object"}
    raise TypeError(f"{of!r} cannot be part of a configuration")


def _dataclass_schema(of: Any) -> dict[str, Any]:
    hints = get_type_hints(of)
    fields = [field for field in dataclasses.fields(of) if field.init]
    described: dict[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {field.name: schema(hints[field.name]) for field in fields},
    }
    required = [field.name for field in fields if _is_required(field)]
    return {**described, "required": required} if required else described


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def decode(of: Any, value: Any, place: str = "") -> Any:
    """A value of the type, from JSON as `json.loads` gives it."""
    origin, arguments = get_origin(of), get_args(of)
    if dataclasses.is_dataclass(of) and isinstance(value, dict):
        return _decode_dataclass(of, value, place)
    if origin in (Union, types.UnionType):
        return _decode_union(arguments, value, place)
    if (origin is list or of is list) and isinstance(value, list):
        return [decode(arguments[0], each, f"{place}[{i}]") if arguments else each for i, each in enumerate(value)]
    if (origin is dict or of is dict) and isinstance(value, dict):
        return {key: decode(arguments[1], each, _below(place, key)) if arguments else each for key, each in value.items()}
    if of is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    fits = of is Any or (origin is Literal and value in arguments) or (of in _PLAIN and type(value) is of)
    if not fits:
        wanted = getattr(of, "__name__", str(of))
        raise ConfigError(f"{place or 'the configuration'}: expected {wanted}, found {value!r}")
    return value


def _decode_dataclass(of: Any, value: dict[str, Any], place: str) -> Any:
    hints = get_type_hints(of)
    fields = {field.name: field for field in dataclasses.fields(of) if field.init}
    for key in value:
        if key not in fields:
            raise ConfigError(f"{_below(place, key)}: unknown key; known here: {', '.join(fields) or 'none'}")
    for name, field in fields.items():
        if name not in value and _is_required(field):
            raise ConfigError(f"{_below(place, name)}: the key is missing")
    return of(**{key: decode(hints[key], each, _below(place, key)) for key, each in value.items()})


def _decode_union(choices: tuple[Any, ...], value: Any, place: str) -> Any:
    errors = []
    for each in choices:
        try:
            return decode(each, value, place)
        except ConfigError as error:
            errors.append(str(error))
    raise ConfigError("; or ".join(errors))


def _below(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key
