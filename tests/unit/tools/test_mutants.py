"""The mutator: what it does to a line, and that a seed draws the same again."""

import pytest
from mutation.mutants import draw, mutations

SOURCE = b"""
LIMIT = 3

def work(items, limit=5):
    '''Not 7 of them.'''
    if items < (limit - 1) and (items or limit):
        collect(items, limit)
    logger.info(items, 8)
    raise ValueError(items, 9)
"""


def changed(line: int) -> set[tuple[str, str, str]]:
    return {(one.kind, one.before, one.after) for one in mutations("a.py", SOURCE, {line})}


def test_a_condition_is_negated_and_its_parts_are_changed():
    assert changed(6) == {
        ("condition", "items < (limit - 1) and (items or limit)", "(not (items < (limit - 1) and (items or limit)))"),
        ("and/or", "items < (limit - 1) and (items or limit)", "(items < (limit - 1) or (items or limit))"),
        ("and/or", "items or limit", "(items and limit)"),
        ("comparison", "items < (limit - 1)", "(items <= (limit - 1))"),
        ("arithmetic", "limit - 1", "(limit + 1)"),
        ("constant", "1", "2"),
    }


def test_a_call_is_dropped_or_gets_its_arguments_the_other_way_round():
    assert changed(7) == {
        ("statement", "collect(items, limit)", "pass"),
        ("arguments", "collect(items, limit)", "collect(limit, items)"),
    }


@pytest.mark.parametrize("line", [2, 4, 5, 8, 9], ids=["module", "defaults", "docstring", "log", "error"])
def test_what_no_test_could_notice_is_left_alone(line):
    assert not changed(line)


def test_every_room_gives_as_many_and_a_seed_gives_the_same_again():
    all_ = mutations("a.py", SOURCE, range(1, 10)) + mutations("b.py", SOURCE, range(1, 10))
    rooms = {"a": [one for one in all_ if one.file == "a.py"], "b": [one for one in all_ if one.file == "b.py"]}
    drawn = draw(rooms, 4, seed=1)
    assert sorted(one.file for one in drawn) == ["a.py", "a.py", "b.py", "b.py"]
    assert len({one.place for one in drawn}) == 4
    assert draw(rooms, 4, seed=1) == drawn
    assert any(draw(rooms, 4, seed=seed) != drawn for seed in range(2, 9))
    for one in drawn:
        assert one.apply(SOURCE) != SOURCE
