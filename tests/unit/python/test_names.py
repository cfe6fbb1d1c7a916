"""Names that this package has not: in options, and of itself."""

from importlib import import_module

import pytest

import swarm
from swarm.generate.options import parse_options


@pytest.mark.parametrize("make", [swarm.Client, swarm.LocalSwarm, lambda **options: parse_options(options)])
def test_an_unknown_name_is_caught_as_pythons_own_error_and_as_this_packages(make):
    for kind in (TypeError, swarm.SwarmError):
        with pytest.raises(kind, match="unknown option 'colour'"):
            make(colour=1)


@pytest.mark.parametrize("name", ["generate", "client", "server"])
def test_a_package_that_is_taken_for_a_function_says_what_to_call(name):
    package = import_module(f"swarm.{name}")
    with pytest.raises(AttributeError, match=rf"^module 'swarm' has no function '{name}'; .*swarm\."):
        package("hi", max_new_tokens=4)


def test_what_this_package_has_not_is_told_with_the_nearest_that_it_has():
    with pytest.raises(AttributeError, match=r"no attribute 'Cleint'; did you mean Client\?"):
        swarm.Cleint  # noqa: B018
    with pytest.raises(AttributeError, match=r"no function 'stream'; swarm.Client\(model\).stream\(prompt\)"):
        swarm.stream  # noqa: B018
