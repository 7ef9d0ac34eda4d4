"""What a plugin is, and how it starts."""

from __future__ import annotations

import dataclasses
import inspect
import json
from typing import Any, Callable, Final, Protocol, TypeVar, get_type_hints

from ._config import ConfigError, decode, schema
from ._record import Outcome, Record


class Destination:
    """Where an output goes: `DEFAULT`, or what `Outputs.named` has found."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index


#: The pipeline's default output.
DEFAULT: Final = Destination(-1)


class Outputs:
    """The names that a result may be sent to, as the pipeline gives them under the sink's `outputs:`."""

    def __init__(self, names: list[str]) -> None:
        self._names = names

    @property
    def names(self) -> list[str]:
        """All names, in the pipeline's order."""
        return list(self._names)

    def named(self, name: str) -> Destination:
        """The destination of this name. Raises a `ConfigError` that says which there are, where there is none."""
        if name in self._names:
            return Destination(self._names.index(name))
        known = "`, `".join(self._names)
        has = f"the pipeline has `{known}`" if known else "the pipeline names no outputs"
        raise ConfigError(f"no output is named `{name}`: {has}")


class Processor(Protocol):
    """What `plugin` decorates. Its `__init__` is called once, before the first record, with the stage's configuration and
    the pipeline's outputs, as far as it takes them: `__init__(self)`, `(self, config: C)` or `(self, config: C, outputs:
    Outputs)`, where C is a dataclass. A `ConfigError` from it keeps the pipeline from starting, and is shown."""

    def process(self, record: Record) -> Outcome:
        """Called for each record, in the order of its partition. An exception fails the record, with its words and its
        place in the source as the reason."""
        ...


@dataclasses.dataclass
class _NoConfig:
    pass


class Registered:
    """The plugin of this program."""

    def __init__(self, made: Callable[..., Processor], name: str, version: str, summary: str) -> None:
        self.made = made
        self.name, self.version, self.summary = name, version, summary
        parameters = list(inspect.signature(made).parameters)
        self._count = min(len(parameters), 2)
        self.config: Any = _NoConfig
        if parameters:
            hints = get_type_hints(made.__init__)  # type: ignore[misc]
            self.config = hints.get(parameters[0])
            if not dataclasses.is_dataclass(self.config):
                raise TypeError(f"the first parameter of {name}'s __init__ is its configuration, and needs a dataclass as type")

    def schema(self) -> str:
        return json.dumps(schema(self.config))

    def configure(self, config: str, outputs: list[str]) -> Processor:
        decoded = decode(self.config, json.loads(config))
        return self.made(*(decoded, Outputs(outputs))[: self._count])


registered: Registered | None = None

_P = TypeVar("_P", bound=Callable[..., Any])


def plugin(*, name: str, version: str = "0.0.0", summary: str = "") -> Callable[[_P], _P]:
    """Makes a class the plugin of this program; once, in `plugin.py`. `sluicegate inspect` prints what is said here."""

    def register(made: _P) -> _P:
        global registered
        if registered is not None:
            raise TypeError(f"there is a plugin already: {registered.name}")
        registered = Registered(made, name, version, summary)
        return made

    return register
