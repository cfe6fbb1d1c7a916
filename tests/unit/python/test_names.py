"""Names that this package has not: in options, and of itself."""

import dataclasses
import pydoc
import re
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


def test_help_says_what_a_generation_holds_and_nothing_of_other_libraries():
    shown = {what: pydoc.render_doc(what, renderer=pydoc.plaintext) for what in (swarm.Generation, swarm.LocalSwarm)}
    assert "finish_reason: " in shown[swarm.Generation]
    assert {field.name for field in dataclasses.fields(swarm.Generation)} <= set(
        re.findall(r"^ \|  (\w+): ", shown[swarm.Generation], re.MULTILINE)
    )
    assert "class Popen" not in shown[swarm.LocalSwarm]
