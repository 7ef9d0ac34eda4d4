"""Write Sluicegate plugins in Python: one record at a time, while records cross the boundary a batch a call.

    from sluicegate import PASS, Outcome, Record, plugin

    @plugin(name="shout", version="0.1.0", summary="Writes values in capitals")
    class Shout:
        def process(self, record: Record) -> Outcome:
            if record.value is None:
                return PASS
            return record.emit(value=record.value.upper())

One thread calls a plugin, and an instance lives until it fails. What it keeps is therefore a cache, never the truth: the
same record is to become the same again, whatever came before it.
"""

from ._config import ConfigError
from ._host import Level, count, log
from ._plugin import DEFAULT, Destination, Outputs, plugin
from ._random import Random
from ._record import DROP, INHERIT, PASS, Data, Header, Outcome, Output, Record, Reject

__all__ = [
    "DEFAULT",
    "DROP",
    "INHERIT",
    "PASS",
    "ConfigError",
    "Data",
    "Destination",
    "Header",
    "Level",
    "Outcome",
    "Output",
    "Outputs",
    "Random",
    "Record",
    "Reject",
    "count",
    "log",
    "plugin",
]
