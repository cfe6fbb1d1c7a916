"""A short run of benchmarks/fuzz_trust.py."""

from fuzz_trust import MAX_GROWTH_BYTES, fuzz


def test_of_hostile_bytes_nothing_is_accepted_that_nobody_signed_and_nothing_breaks():
    outcomes, growth = fuzz(2_000, seed=1)
    assert all(outcome.rounds > 200 for outcome in outcomes.values())
    assert not [line for outcome in outcomes.values() for line in outcome.crashes + outcome.wrong]
    assert growth < MAX_GROWTH_BYTES
