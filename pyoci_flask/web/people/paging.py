"""Long lists on the web pages, in parts: `?page=2`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from flask import request

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """One part of a list."""

    items: Sequence[T]
    number: int
    """Starts at 1."""
    pages: int


def requested_part(items: Sequence[T], most: int) -> Part[T]:
    """Return the part that this request asks for, with at most `most` items.

    A number that is too large or too small means the last part or the first one.
    """
    pages = max(1, -(-len(items) // most))
    number = min(max(1, request.args.get("page", 1, int)), pages)
    return Part(items[(number - 1) * most : number * most], number, pages)
