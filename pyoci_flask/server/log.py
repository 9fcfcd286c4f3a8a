"""gunicorn's own messages, without what clients sent: at every level it quotes that as it came."""

import logging
import re

from pyoci_flask.common.redaction import redact, redacted_traceback, without_userinfo

# The address of the client, and what is wrong up to where the request is quoted: whatever could
# not be read may hold a password in a form that nobody can tell from other text.
_UNREADABLE = re.compile(
    r"(Invalid request from ip=\S*: (?:\[\w+: \w+\] )?[\w -]*(?:\(\d+ > \d+\))?)"
)


def keep_secrets_out() -> None:
    """Filter gunicorn's logs in this process and in those it forks, whatever handlers they get."""
    for name in ("gunicorn.error", "gunicorn.access"):
        logging.getLogger(name).addFilter(_filter)


def _filter(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        # The path of a request is one of them.
        record.args = tuple(
            without_userinfo(one) if isinstance(one, str) else one for one in record.args
        )
    message = record.getMessage()
    unreadable = _UNREADABLE.match(message[:1000])
    record.msg = redact(unreadable[1].rstrip() if unreadable is not None else message)
    record.args = None
    if record.exc_info:
        # Formatters print this text where there is one.
        record.exc_text = redacted_traceback(logging.Formatter().formatException(record.exc_info))
    return True
