"""What the runtime calls; componentize-py starts here. A project's `plugin.py` is imported while the component is made."""

from __future__ import annotations

import os
from typing import Any

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports import batch_transform, lifecycle

import plugin as _plugin  # noqa: F401  (registers the plugin)

from . import _batch, _host
from . import _plugin as _registry
from ._config import ConfigError

if _registry.registered is None:
    raise SystemExit("plugin.py has no plugin: put @sluicegate.plugin(name=…) before its class")
_registered = _registry.registered
_instance: Any = None


class Lifecycle(exports.Lifecycle):
    def describe(self) -> lifecycle.Description:
        return lifecycle.Description(
            _registered.name, _registered.version, _registered.summary, _registered.schema()
        )

    def configure(self, config: str, outputs: list[str]) -> None:
        global _instance
        try:
            _instance = _registered.configure(config, outputs)
        except ConfigError as error:
            raise Err(_host.utf8(str(error))) from None
        except Exception as error:
            _explain(error)
            raise


class BatchTransform(exports.BatchTransform):
    def process(self, batch: batch_transform.Batch) -> batch_transform.Outcomes:
        try:
            outcomes = _batch.process(_instance, batch, batch_transform)
        except Exception as error:
            _explain(error)
            raise
        _host.flush_counts()
        return outcomes


_OWN = os.path.dirname(__file__)


def _explain(error: BaseException) -> None:
    """Makes an exception show its own words and its place: the runtime takes the last line of level error as the reason of
    a failure."""
    place, at = "an unknown place", error.__traceback__
    # The module `traceback` would look for the sources, and there are no files here.
    while at is not None:
        file = at.tb_frame.f_code.co_filename
        if os.path.dirname(file) != _OWN:
            place = f"{os.path.basename(file)}:{at.tb_lineno}"
        at = at.tb_next
    _host.log(_host.Level.ERROR, f"{type(error).__name__} at {place}: {error}")
