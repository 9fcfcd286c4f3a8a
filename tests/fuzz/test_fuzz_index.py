"""Operations in any order, through workers and hosts that cache: each must see the right state."""

import os
from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from packaging.version import Version

from tests.fuzz.index_model import KINDS, PROJECTS, VERSIONS, files_of
from tests.fuzz.index_pages import Pages
from tests.fuzz.index_site import HOSTS, Site, running_site
from tests.fuzz.index_story import Step, Story

pytestmark = pytest.mark.acceptance

_EXAMPLES = int(os.environ.get("EXAMPLES") or 50)
_STEPS = min(50, 15 + _EXAMPLES // 10)
_REASONS: tuple[bool | str, ...] = (True, False, "why", "<b>\"&'")
_PROFILES = os.environ.get("PROFILES", "plain ghcr immutable").split()

# How often each operation comes, and how often it is about an existing file.
_CHANGES = {
    "publish": (30, 0.3),
    "delete": (12, 0.7),
    "yank": (8, 0.7),
    "push_original": (5, 0.7),
}
_OPERATIONS = {
    **_CHANGES,
    "push_image": (3, 0.4),
    "remove_tag": (3, 0.7),
    "cut_index": (3, 0.7),
    "collect": (2, 0.0),
    "wait": (12, 0.7),
    "look_while": (20, 0.7),
    "download": (15, 0.7),
}

stories = settings(
    max_examples=max(1, _EXAMPLES // 100),
    derandomize="EXAMPLES" not in os.environ,  # `make fuzz` uses others each time
    phases=[Phase.generate],  # a shorter story is another one
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.fixture(scope="module", params=_PROFILES)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("site"), request.param) as running:
        yield running


def test_every_worker_sees_what_is_there(site: Site) -> None:
    @stories
    @given(st.integers(0, 2**32 - 1))
    def tell(seed: int) -> None:
        random = Random(seed)
        story = Story(site)
        pages = Pages(story)
        # In one story a version has one spelling: the model does not know that others are the same.
        spellings = {Version(one): one for one in random.sample(VERSIONS, len(VERSIONS))}
        versions = [*spellings.values()][: random.randint(1, 4)]
        for _ in range(_STEPS):
            step = _step(random, story, versions)
            note(f"{step}")
            story.perform(step)
            pages.check(step.amid.project if step.amid else step.project)

    tell()


def _step(random: Random, story: Story, versions: list[str]) -> Step:
    step = _any_step(random, story, versions, _OPERATIONS)
    if step.operation == "wait":
        return replace(step, number=random.choice([1, 20, 20, 20, 40, 59, 60, 61, 500]))
    if step.operation == "look_while":
        inner = _any_step(random, story, versions, _CHANGES)
        return replace(
            inner,
            operation="look_while",
            worker=random.choice(["one", "fresh"]),  # they make one call after another
            whole=random.random() < 0.7,
            amid=inner,
        )
    return step


def _any_step(
    random: Random, story: Story, versions: list[str], weights: dict[str, tuple[int, float]]
) -> Step:
    (operation,) = random.choices(list(weights), [weight for weight, _ in weights.values()])
    project = random.choice(["my-pkg", "my-pkg", "foo"])
    version, kind = random.choice(versions), random.choice(KINDS)
    there = [(*key, one) for key, state in story.model.states.items() for one in files_of(state)]
    if there and random.random() < weights[operation][1]:
        project, version, kind = random.choice(there)
    return Step(
        operation,
        worker=random.choice(list(HOSTS)),
        project=project,
        spelling=random.choice(PROJECTS[project]),
        version=version,
        kind=kind,
        whole=random.random() < 0.4,
        variant=random.randrange(2),
        reason=random.choice(_REASONS),
        number=random.randint(1, 7),
    )
