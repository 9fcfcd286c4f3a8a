"""The scripts that measure: which faults `make mutation` makes, and what `make counts` counts."""

import pytest

from scripts.counts import memories_of
from scripts.faults import mutants

FUNCTION = """
logger = logging.getLogger("name")

def answer(one: "int | None" = None) -> "str":
    "A docstring."
    logger.info("a log line %s", 7)
    {}
"""


@pytest.mark.parametrize(
    ("statement", "faults"),
    [
        ("pass", []),
        ("return one", ["None instead of `one`"]),
        ("return", ["removed `return`"]),
        ("return None", ["True instead of None"]),
        ("call(5)", ["removed `call(5)`", "5 -> 6", "5 -> 4"]),
        ("raise KeyError('text')", ["removed `raise KeyError('text')`"]),
        ("if one < two: pass", ["Lt -> LtE", "Lt -> GtE"]),
        ("if one and two: pass", ["And -> Or"]),
        ("if not one: pass", ["`not one` without not"]),
        ("if one: pass", ["not `one`"]),
        ("for _ in one: break", ["Break -> Continue"]),
        ("with one: pass", ["no `with one:`"]),
        ("try: pass\n    except KeyError: pass\n    finally: pass", ["no handler", "no finally"]),
        ("pause = 0.2", ["removed", "0.2 -> 0.4", "0.2 -> 0.1"]),
        ("most = 3 * 4 * 5", ["removed", "60 -> 120", "60 -> 30"]),
        ("call(True, '', b'')", ["removed", "True -> False", "another text", "other bytes"]),
    ],
)
def test_a_fault_is_made_for_each_part_of_a_function(statement: str, faults: list[str]) -> None:
    source = FUNCTION.format(statement)
    made = list(mutants(source))
    assert len(made) == len(faults), made
    assert all(one.what.startswith(what) for one, what in zip(made, faults, strict=True)), made
    assert len({one.text for one in made}) == len(made)


NONLOCAL = """
def one():
    found = call()
    def two():
        nonlocal found
"""


def test_a_fault_that_python_does_not_compile_is_left_out() -> None:
    assert list(mutants(NONLOCAL)) == []


CLASS = """
class One:
    def __init__(self):
        self._lock = threading.Lock()
        {}
"""


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("self._a: OrderedDict[str, int] = OrderedDict()", ["_a"]),
        ("self._a = WeakKeyDictionary[Project, Page]()", ["_a"]),
        ("self._a: dict[str, int] = {}", ["_a"]),
        ("self._a = Memory(entries=5)", []),
        ("a = {}", []),
    ],
)
def test_a_memory_is_what_a_class_bounds_and_locks_itself(line: str, names: list[str]) -> None:
    assert list(memories_of(CLASS.format(line))) == names


def test_a_dict_without_a_lock_is_no_memory() -> None:
    assert list(memories_of("class One:\n    def __init__(self):\n        self._a = {}\n")) == []
    assert list(memories_of("_PAGES = SizedCache(parse, 512)\n")) == ["_PAGES"]
