"""The environment variables that the application reads."""

from collections.abc import Iterator, Mapping

from pyoci_flask.settings import Settings


def setting_names() -> set[str]:
    """Return the names of the variables that `Settings` reads."""
    environ = _Recorder()
    Settings.from_env(environ)
    return environ.asked


class _Recorder(Mapping[str, str]):
    """An environment without variables that records the names it was asked for."""

    def __init__(self) -> None:
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0
