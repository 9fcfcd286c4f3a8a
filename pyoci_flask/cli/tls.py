"""TLS errors, found beneath the exceptions that requests and urllib3 wrap around them."""

import ssl

_DEPTH = 10


def tls_fault(error: BaseException) -> ssl.SSLError | None:
    """Return the TLS error that caused `error`, or None if another fault caused it."""
    seen: BaseException | None = error
    for _ in range(_DEPTH):
        if seen is None or isinstance(seen, ssl.SSLError):
            return seen
        reason = getattr(seen, "reason", None)
        inner = [one for one in (*seen.args, reason) if isinstance(one, BaseException)]
        seen = inner[0] if inner else seen.__cause__ or seen.__context__
    return None


def explained(fault: ssl.SSLError) -> str:
    """Return a short description of a TLS error."""
    if isinstance(fault, ssl.SSLCertVerificationError):
        return fault.verify_message
    return fault.reason or "the handshake failed"
