"""gunicorn's own messages, without what clients sent: at every level it quotes that as it came."""

import logging
import re

from pyoci_flask.logs import redact

# The address of the client, and what is wrong up to where the request is quoted: whatever could
# not be read may hold a password in a form that nobody can tell from other text.
_UNREADABLE = re.compile(
    r"(Invalid request from ip=\S*: (?:\[\w+: \w+\] )?[\w -]*(?:\(\d+ > \d+\))?)"
)


def keep_secrets_out() -> None:
    """Filter gunicorn's log in this process and in those it forks, whatever handlers it gets."""
    logging.getLogger("gunicorn.error").addFilter(_filter)


def _filter(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    unreadable = _UNREADABLE.match(message)
    record.msg = redact(unreadable[1].rstrip() if unreadable is not None else message)
    record.args = None
    if record.exc_info:
        # Formatters print this text where there is one.
        record.exc_text = redact(logging.Formatter().formatException(record.exc_info))
    return True
