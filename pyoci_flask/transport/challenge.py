"""WWW-Authenticate challenges (RFC 7235, section 4.1), as registries actually write them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SPACE = re.compile(r"[\s,]*")
_SCHEME = re.compile(rf"({_WORD})(?:[ \t]+|(?=,)|$)")
_PARAMETER = re.compile(
    rf'[\s,]*({_WORD})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s",=][^\s",]*))[ \t]*(?=,|$)'
)
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*[ \t]*(?=,|$)")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge. Its scheme and parameter names are in lower case, its values unquoted."""

    scheme: str
    parameters: Mapping[str, str]

    @property
    def size(self) -> int:
        """The number of bytes that this challenge counts for in a `Memory`."""
        return 500 + sum(100 + len(name) + len(text) for name, text in self.parameters.items())

    def __getitem__(self, name: str) -> str | None:
        return self.parameters.get(name)


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """Split the header into its challenges. Several headers are joined by commas.

    Registries send schemes in any case, values with and without quotes, a bare `Basic`, and headers
    that end in garbage. The challenges before the garbage are returned.
    """
    found: list[Challenge] = []
    position = _after(_SPACE, header, 0)
    while position < len(header):
        scheme = _SCHEME.match(header, position)
        if scheme is None:
            break
        position = scheme.end()
        parameters: dict[str, str] = {}
        while parameter := _PARAMETER.match(header, position):
            name, quoted, plain = parameter.groups()
            value = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            parameters.setdefault(name.lower(), value)
            position = parameter.end()
        if not parameters:
            position = (
                _after(_TOKEN68, header, position) if _ends_scheme(header, position) else position
            )
        found.append(Challenge(scheme[1].lower(), MappingProxyType(parameters)))
        position = _after(_SPACE, header, position)
    return tuple(found)


def _ends_scheme(header: str, position: int) -> bool:
    """Return whether a token68 can follow (`Negotiate YII=`), not a scheme (`Basic, Bearer`)."""
    return position > 0 and header[position - 1] in " \t"


def _after(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return position if match is None else match.end()
