import threading

import pytest

from pyoci_flask.common.memory import KeyedLocks, Memory, text_size


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_value_is_returned_until_its_time_to_live_has_passed() -> None:
    clock = Clock()
    memory = Memory[str, str](entries=10, max_bytes=10_000, ttl=60, clock=clock)
    memory.put("short", "1", ttl=5)
    memory.put("usual", "2")
    clock.now = 4.9
    assert (memory.get("short"), memory.get("usual")) == ("1", "2")
    clock.now = 5
    assert (memory.get("short"), memory.get("usual")) == (None, "2")
    clock.now = 60
    assert memory.get("usual") is None
    assert len(memory) == 0


def test_expired_values_make_room_when_another_one_is_put() -> None:
    clock = Clock()
    memory = Memory[int, str](entries=10, max_bytes=10_000, ttl=60, clock=clock)
    for number in range(9):
        memory.put(number, "")
    clock.now = 60
    memory.put(9, "")
    assert len(memory) == 1


def test_without_a_time_to_live_a_value_does_not_expire() -> None:
    clock = Clock()
    memory = Memory[str, str](entries=10, max_bytes=10_000, clock=clock)
    memory.put("a", "1")
    clock.now = 1e12
    assert memory.get("a") == "1"


def test_a_value_that_is_put_again_starts_a_new_time_to_live_and_counts_once() -> None:
    clock = Clock()
    memory = Memory[str, bytes](entries=10, max_bytes=3000, ttl=60, clock=clock)
    for now in range(0, 590, 59):
        clock.now = now
        memory.put("a", bytes(1000))
        assert memory.get("a") is not None
    memory.put("b", bytes(1000))
    assert memory.get("a") is not None


def test_the_entry_used_least_recently_is_dropped_beyond_the_number_of_entries() -> None:
    memory = Memory[str, str](entries=2, max_bytes=10_000)
    memory.put("a", "1")
    memory.put("b", "2")
    assert memory.get("a") == "1"
    memory.put("c", "3")
    assert [memory.get(key) for key in "abc"] == ["1", None, "3"]


def test_the_entries_used_least_recently_are_dropped_beyond_the_number_of_bytes() -> None:
    memory = Memory[str, bytes](entries=100, max_bytes=10_000)
    for key in range(100):
        memory.put(str(key), bytes(3000))
    assert len(memory) == 3
    assert [key for key in range(100) if str(key) in memory] == [97, 98, 99]


def test_a_value_larger_than_all_is_not_kept() -> None:
    memory = Memory[str, bytes](entries=100, max_bytes=10_000)
    memory.put("small", bytes(5))
    memory.put("large", bytes(10_001))
    assert memory.get("large") is None
    assert memory.get("small") == bytes(5)


@pytest.mark.parametrize("key", ["k" * 3000, (1, ("k" * 1500, b"k" * 1500))])
def test_the_text_of_a_key_counts(key: object) -> None:
    memory = Memory[object, None](entries=100, max_bytes=10_000)
    for number in range(100):
        memory.put((number, key), None)
    assert len(memory) == 3


def test_a_value_may_state_its_size() -> None:
    memory = Memory[int, list[str]](entries=100, max_bytes=10_000, size=lambda one: len(one[0]))
    for number in range(100):
        memory.put(number, ["v" * 3000])
    assert len(memory) == 3


def test_the_size_of_what_is_no_text_is_nothing() -> None:
    assert text_size(("ab", 5, None, (b"cde",))) == 5


def test_none_is_a_value() -> None:
    memory = Memory[str, None](entries=100, max_bytes=10_000)
    assert "a" not in memory
    memory.put("a", None)
    assert "a" in memory


def test_what_was_removed_is_gone() -> None:
    memory = Memory[str, str](entries=100, max_bytes=10_000)
    memory.put("a", "1")
    memory.remove("a")
    memory.remove("never there")
    assert "a" not in memory


def test_a_value_is_made_once() -> None:
    memory = Memory[str, str](entries=100, max_bytes=10_000)
    made = []

    def make() -> str:
        made.append(1)
        return "1"

    assert [memory.get_or_make("a", make) for _ in range(3)] == ["1", "1", "1"]
    assert len(made) == 1


def test_threads_may_use_one_memory() -> None:
    memory = Memory[int, str](entries=50, max_bytes=5000)

    def use(start: int) -> None:
        for number in range(2000):
            memory.put((start + number) % 97, "x" * (number % 40))
            memory.get(number % 97)
            memory.remove(number % 13)

    threads = [threading.Thread(target=use, args=(start,)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(memory) <= 50
    for key in range(97):
        memory.remove(key)
    assert (len(memory), memory._bytes) == (0, 0)


def test_a_lock_is_held_by_one_thread_for_each_key() -> None:
    locks = KeyedLocks[str]()
    inside: list[str] = []
    waited = threading.Event()

    def second() -> None:
        waited.set()
        with locks.hold("a") as shared:
            inside.append(f"second, another had it: {shared}")

    thread = threading.Thread(target=second)
    with locks.hold("a") as shared:
        inside.append(f"first, another had it: {shared}")
        with locks.hold("b"):
            thread.start()
            waited.wait()
            while locks._held["a"][1] < 2:
                pass
            inside.append("first ends")
    thread.join()
    assert inside == [
        "first, another had it: False",
        "first ends",
        "second, another had it: True",
    ]
    assert locks._held == {}


def test_a_lock_is_released_after_an_error() -> None:
    locks = KeyedLocks[str]()
    with pytest.raises(ZeroDivisionError), locks.hold("a"):
        raise ZeroDivisionError
    assert locks._held == {}


def test_after_the_timeout_a_thread_goes_on_without_the_lock() -> None:
    locks = KeyedLocks[str]()
    with locks.hold("a"):
        with locks.hold("a", 0.05) as waited:
            assert waited
        with locks.hold("b", 0.05) as waited:
            assert not waited
        assert set(locks._held) == {"a"}
    assert not locks._held
    with locks.hold("a", 0.05) as waited:
        assert not waited
