"""TLS errors, found beneath the exceptions that requests and urllib3 wrap around them."""

import ssl

from pyoci_flask.transport.failures import causes


def tls_fault(error: BaseException) -> ssl.SSLError | None:
    """Return the TLS error that caused `error`, or None if another fault caused it."""
    return next((one for one in causes(error) if isinstance(one, ssl.SSLError)), None)


def explained(fault: ssl.SSLError) -> str:
    """Return a short description of a TLS error."""
    if isinstance(fault, ssl.SSLCertVerificationError):
        return fault.verify_message
    return fault.reason or "the handshake failed"
