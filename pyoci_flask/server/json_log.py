"""gunicorn's own messages as JSON lines."""

import logging

from gunicorn.config import Config
from gunicorn.glogging import Logger

from pyoci_flask.common.overrides import overrides
from pyoci_flask.logs import JSONFormatter


@overrides("setup")
class JSONLogger(Logger):
    """The loggers `gunicorn.error` and `gunicorn.access`, of the master and of its workers."""

    def setup(self, cfg: Config) -> None:
        """Let gunicorn choose the handlers, and replace their format."""
        super().setup(cfg)
        for name in ("gunicorn.error", "gunicorn.access"):
            for handler in logging.getLogger(name).handlers:
                handler.setFormatter(JSONFormatter())
