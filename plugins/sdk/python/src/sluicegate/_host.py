"""What the runtime gives: a log, counters, and a seed. Where there is none, as in a plugin's own tests, lines are printed,
and the seed is that of the stage `test` of the pipeline `test`, as `sluicegate test` gives it."""

from enum import IntEnum

try:
    from wit_world.imports import log as _log
    from wit_world.imports import metrics as _metrics
    from wit_world.imports import seed as _seed
except ImportError:
    _log = _metrics = _seed = None


class Level(IntEnum):
    """How much a line matters: from every step up to what was given up on."""

    TRACE = 0
    DEBUG = 1
    INFO = 2
    WARN = 3
    ERROR = 4


def utf8(text: str) -> str:
    """The text as the boundary takes it: surrogates, which stand for bytes that are not UTF-8, are replaced."""
    return text.encode(errors="replace").decode()


def log(level: Level, line: str) -> None:
    """Writes a line in the runtime's log. It crosses the boundary at once, so one a record costs more than the record: use
    `count` for what is usual."""
    if _log is None:
        print(f"{level.name}: {line}")
    else:
        _log.log(_log.Level(int(level)), utf8(line))


_counts: dict[str, int] = {}


def count(name: str, by: int = 1) -> None:
    """Adds to the stage's counter `plugin_<name>`: at most 64 of a-z0-9_, and 32 names a plugin. It crosses the boundary once
    a batch, after its last record; a batch that is run again after that counts again."""
    _counts[name] = _counts.get(name, 0) + by


def flush_counts() -> None:
    if _counts:
        if _metrics is not None:
            for name, by in _counts.items():
                _metrics.count(utf8(name), by)
        _counts.clear()


def stage_seed() -> int:
    return 0x194182447C1357 if _seed is None else _seed.stage()
