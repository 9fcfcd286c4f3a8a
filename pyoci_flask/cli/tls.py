"""What went wrong with TLS, under the layers of errors that requests and urllib3 wrap it in."""

import ssl

_DEPTH = 10


def tls_fault(error: BaseException) -> ssl.SSLError | None:
    """Look for an error of TLS below `error`; None = it is about something else."""
    seen: BaseException | None = error
    for _ in range(_DEPTH):
        if seen is None or isinstance(seen, ssl.SSLError):
            return seen
        reason = getattr(seen, "reason", None)
        inner = [one for one in (*seen.args, reason) if isinstance(one, BaseException)]
        seen = inner[0] if inner else seen.__cause__ or seen.__context__
    return None


def explained(fault: ssl.SSLError) -> str:
    """Say it in few words."""
    if isinstance(fault, ssl.SSLCertVerificationError):
        return fault.verify_message
    return fault.reason or "the handshake was broken off"
