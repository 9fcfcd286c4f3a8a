"""Removes credentials from text of clients, registries and packages before it is logged or sent.

Text is cut before it is searched. The regular expressions take linear time, because text that a
repetition matches can neither match what follows the repetition nor begin another match. They do
not use possessive quantifiers (`*+`), which Python before 3.11.5 matches incorrectly.
"""

import re

REDACTED = "[redacted]"

FIELD_LIMIT = 200
"""The maximum number of characters of a quoted field."""
TEXT_LIMIT = 4000
"""The maximum number of characters of a text that are searched and kept."""
_SEARCHED = 8192
"""Characters of a field that are searched for the end of userinfo. No path is longer."""
_TRACEBACK_LIMIT = 2400

# Words that may follow a scheme's name in a sentence or a challenge, instead of a token.
_PROSE = (
    r"(?!(?:auth\w*|challenges?|credentials?|tokens?|schemes?|realm|scope|service|error"
    r"|and|or|is|was|are|for|with|where|from|at|to|in|of)(?:[\s,;:)\"'\\=]|\.?$|\.\s))"
)
# A character of a URL, plain or percent-encoded any number of times.
_COLON = r"(?::|%(?:25)*3A)"
_SLASH = r"(?:/|%(?:25)*2F)"
_SPACE = r"(?:\s|%(?:25)*20)"

# Each entry has words in lower case. The pattern can match only if the text contains one of them.
_SECRETS = (
    # RFC 9110 section 11.4: a scheme and a token68.
    (
        ("basic", "bearer"),
        re.compile(rf"\b(Basic|Bearer)({_SPACE}+){_PROSE}[A-Za-z0-9._~+/=%-]+", re.IGNORECASE),
        rf"\1\2{REDACTED}",
    ),
    # Signed URLs for the registries' storage.
    (
        ("sig", "token", "credential", "secret", "pass", "key"),
        re.compile(
            r"((?:[?&]|%(?:25)*(?:3F|26))[\w.-]{0,40}?"
            r"(?:sig|signature|token|credential|secret|passwd|password|key|keyid)(?:=|%(?:25)*3D))"
            r"[^&\s\"'()<>]+",
            re.IGNORECASE,
        ),
        rf"\1{REDACTED}",
    ),
    # RFC 7519: a JSON Web Token, or the beginning of one.
    (("eyj",), re.compile(r"(?<![\w-])eyJ[\w-]{8,}(?:\.[\w-]*){0,2}"), REDACTED),
)

# RFC 3986 section 3.2.1: the end of the userinfo of a URL, but not the @ before a digest.
_AT = re.compile(r"(?:@|%(?:25)*40)(?!sha256(?::|%))", re.IGNORECASE)
# A URL may have lost a slash on its way through a proxy.
_SCHEME = re.compile(rf"{_COLON}{_SLASH}{{1,2}}", re.IGNORECASE)
_FIELD_BEGINNING = re.compile(rf"/*(?:ui/+)?(?:https?{_COLON}{_SLASH}{{1,2}})?", re.IGNORECASE)
_WORD = re.compile(r"[^\s\"]+")
_BEGINNING = re.compile(r"(?:path=|url=)?[/'({<]*", re.IGNORECASE)
_AUTHORITY_END = re.compile(rf"{_SLASH}|[?#'<>(){{}},;]|$", re.IGNORECASE)
_HOST = r"(?:localhost|\[[0-9A-F:.]+\]|[A-Z0-9-]+(?:\.[A-Z0-9-]+)+)"
_HOST_AND_PORT = re.compile(rf"{_HOST}\.?(?:{_COLON}[0-9]{{1,5}})?", re.IGNORECASE)
_NO_PORT = re.compile(
    rf"(?!https?:|sha[0-9])(?:[^:%\[\]]|%(?!(?:25)*3A))*{_COLON}(?![0-9]{{0,5}}[.:!]*$)",
    re.IGNORECASE,
)


# An e-mail address, in which `redact` would find the userinfo of a URL.
_EMAIL = re.compile(r"[\w.+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}")
# The prefixes of tokens, and 30 or more letters and digits in one word. An UUID has hyphens.
_TOKEN = re.compile(
    r"(?:gh[a-z]_|github_pat_|gl[a-z]{2,5}-|dckr_|pypi-|npm_|xox[a-z]-|hf_|eyJ).*"
    r"|(?=[^0-9]*[0-9])(?=[^A-Za-z]*[A-Za-z])[A-Za-z0-9+/=_]{30,}"
)


def redact(text: str) -> str:
    """Return at most `TEXT_LIMIT` characters of `text`, with credentials replaced.

    This recognises the value of an Authorization header, the userinfo of a URL with or without its
    scheme, the query of a signed URL and a JSON Web Token. A word that the cut would split is
    omitted, because without its second half it might not be recognised as a secret.
    """
    if len(text) > TEXT_LIMIT:
        text = f"{_whole_words(text[:TEXT_LIMIT])}..."
    folded = text.casefold()
    for signs, pattern, replacement in _SECRETS:
        if any(sign in folded for sign in signs):
            text = pattern.sub(replacement, text)
    if "@" in text or "%" in text or ":/" in text:
        text = _WORD.sub(lambda match: _without_userinfo(match[0]), text)
    return text


def shortened(text: str, limit: int = FIELD_LIMIT) -> str:
    """Return at most `limit` characters of a sentence, with credentials replaced."""
    return _cut(redact(text), limit)


def shown(text: str) -> str:
    """Return a field in quotes (see `field`)."""
    return repr(field(text))


def field(text: str) -> str:
    """Return at most `FIELD_LIMIT` characters of a name, header or path segment from outside.

    An `@` has no meaning in such a field, so everything before it is replaced. Text with a colon
    that is not followed by a port is also replaced.
    """
    text = without_userinfo(text)[: 2 * FIELD_LIMIT]
    return _cut(redact(_without_password(text)), FIELD_LIMIT)


def user_name(text: str, secret: str) -> str:
    """Return at most `FIELD_LIMIT` characters of a user name, for the log.

    `secret` is what was sent with it. Clients that know only one value send a token as the user
    name, alone or twice.
    """
    text = text.strip()
    if text and (not secret or text == secret or _TOKEN.fullmatch(text[:_SEARCHED])):
        return REDACTED
    return text if _EMAIL.fullmatch(text) and len(text) <= FIELD_LIMIT else field(text)


def without_userinfo(text: str) -> str:
    """Return a field in which everything before the last `@`, encoded or not, is replaced."""
    end = _last_at(text[:_SEARCHED])
    kept = _FIELD_BEGINNING.match(text)
    begin = kept.end() if kept else 0
    if end is None or end <= begin:
        return text
    return f"{text[:begin]}{REDACTED}{text[end:]}"


def holds_userinfo(path: str) -> bool:
    """Return whether a path contains an `@`, encoded or not."""
    return _last_at(path) is not None


def redacted_traceback(text: str) -> str:
    """Return the end of a traceback, with credentials replaced."""
    lines: list[str] = []
    room = _TRACEBACK_LIMIT
    for line in reversed(text.rstrip().splitlines()):
        lines.append(shortened(line, 600))
        room -= len(lines[-1])
        if room < 0:
            lines.append("...")
            break
    return "\n".join(reversed(lines))


def _whole_words(text: str) -> str:
    """Return `text` without its last word."""
    end = max(text.rfind(separator) for separator in ' \t\r\n"')
    return text[: end + 1]


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _last_at(text: str, *, before_host: bool = False) -> int | None:
    """Return the position of the last `@`, or of the last one before a host name."""
    position = None
    for match in _AT.finditer(text):
        if not before_host or _HOST_AND_PORT.match(text, match.end()):
            position = match.start()
    return position


def _without_userinfo(word: str) -> str:
    """Return a text without spaces in which the userinfo of each URL is replaced."""
    begin, parts = 0, []
    first = _BEGINNING.match(word)
    kept = first.end() if first else 0
    for scheme in _SCHEME.finditer(word):
        parts.append(_hidden(word[begin : scheme.start()], kept, is_url=begin > 0))
        parts.append(scheme[0])
        begin, kept = scheme.end(), 0
    parts.append(_hidden(word[begin:], kept, is_url=begin > 0))
    return "".join(parts)


def _hidden(text: str, kept: int, *, is_url: bool) -> str:
    """Return `text` in which the userinfo after the first `kept` characters is replaced."""
    end = _last_at(text)
    if end is not None and end <= kept:
        end = None
    if is_url and end is None:
        return _without_password(text)
    if is_url and _HOST_AND_PORT.fullmatch(_authority(text)):
        end = _last_at(text, before_host=True)  # a path may contain more
    return text if end is None else f"{text[:kept]}{REDACTED}{text[end:]}"


def _authority(text: str) -> str:
    """Return the beginning of a URL without its scheme, up to the path."""
    end = _AUTHORITY_END.search(text)
    return text[: end.start() if end else None]


def _without_password(text: str) -> str:
    """Return `text` with userinfo that lacks its `@` (no port follows its colon) replaced."""
    authority = _authority(text)
    secret = _NO_PORT.match(authority) is not None
    return f"{REDACTED}{text[len(authority) :]}" if secret else text
