"""Random text that is almost valid, and how many examples of it a test gets."""

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

fuzzed = settings(
    max_examples=int(os.environ.get("EXAMPLES") or 50),
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
"""No deadline: the time on a busy machine says nothing about the code."""


def near(*samples: str, alphabet: str) -> st.SearchStrategy[str]:
    """Return text of the alphabet, any text, and the samples with one piece replaced by another."""

    @st.composite
    def mangled(draw: st.DrawFn) -> str:
        text = draw(st.sampled_from(samples))
        start = draw(st.integers(0, len(text)))
        stop = draw(st.integers(start, len(text)))
        piece = draw(st.text(alphabet, max_size=6) | st.text(max_size=3))
        return text[:start] + piece + text[stop:]

    return mangled() | st.text(alphabet, max_size=60) | st.text(max_size=20)


documents: st.SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3)
    ),
    max_leaves=8,
)
"""Anything that JSON can represent, and the NaN that Python's parser accepts."""
