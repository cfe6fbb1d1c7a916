"""Validators who measure earn; who copies, favours a friend or colludes does not. All sums are exact."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.validators import (
    EMISSION,
    REWARDS,
    SERVERS,
    STAKES,
    VALIDATORS,
    Trial,
    copy,
    favour,
    only_friends,
    raise_friends,
)
from swarm.errors import InvalidRequest
from swarm.market.pricing.policy import Epoch
from swarm.market.rewards.ballots import MAX_SCORE, Ballot, counted, scores_of
from swarm.market.rewards.rewards import consensus
from swarm.wire.identity import keccak256

# --- attacks ---------------------------------------------------------------------------------------------------------


def test_an_honest_validator_earns_like_another():
    assert 0.97 < Trial(VALIDATORS[:1]).run().pay < 1.03


def test_a_validator_that_copies_the_last_scores_earns_less_than_an_honest_one():
    assert Trial(VALIDATORS[:1], copy).run().pay < 0.2
    assert Trial(VALIDATORS[:1], copy, change=0.1).run().pay < 0.8


def test_copying_is_worth_as_much_as_measuring_where_nothing_changes_and_no_more():
    assert Trial(VALIDATORS[:1], copy, change=0.0).run().pay < 1.03


def test_a_validator_that_favours_a_friend_earns_less_and_its_friend_nothing():
    trial = Trial(VALIDATORS[:1], favour(4), friends=SERVERS[:1]).run()
    assert trial.pay < 0.8
    assert trial.earned[SERVERS[0]] < 1.02 * trial.fair


@pytest.mark.parametrize("noise", [0.02, 0.05, 0.1])
@pytest.mark.parametrize("friends", [1, 9])
@pytest.mark.parametrize(
    "strategy", [only_friends, *map(raise_friends, (1.05, 1.1, 1.2, 1.5, 3.0))],
    ids=["only friends", "5 % more", "10 % more", "20 % more", "50 % more", "three times"],
)  # fmt: skip
def test_thirty_per_cent_that_collude_get_no_more_than_five_per_cent_above_their_share(strategy, friends, noise):
    assert Trial(VALIDATORS[:6], strategy, noise, friends=SERVERS[:friends], epochs=15).run().gain <= 1.05


def test_a_majority_decides_everything_which_is_said_and_not_prevented():
    assert Trial(VALIDATORS[:11], only_friends, friends=SERVERS[:9]).run().gain > 1.5


def test_sybil_servers_without_stake_earn_nothing_and_take_nothing_from_others():
    sybils = [bytes([3, number]) * 10 for number in range(50)]
    honest = {validator: dict.fromkeys(SERVERS, 100) for validator in VALIDATORS}
    duped = {validator: {**scores, **dict.fromkeys(sybils, MAX_SCORE)} for validator, scores in honest.items()}
    before, after = (REWARDS.emission(Epoch(1, EMISSION, (), STAKES, weights)) for weights in (honest, duped))
    assert before == after


def test_sybil_validators_without_stake_have_no_say():
    sybils = {bytes([3, number]) * 10: {SERVERS[0]: MAX_SCORE} for number in range(50)}
    honest = {validator: dict.fromkeys(SERVERS, 100) for validator in VALIDATORS}
    before, after = (REWARDS.emission(Epoch(1, EMISSION, (), STAKES, weights)) for weights in (honest, honest | sybils))
    assert before == after


def test_a_stake_split_over_many_keys_earns_what_it_earned_on_one():
    scores = {server: 100 + index for index, server in enumerate(SERVERS)}
    keys = [bytes([3, number]) * 10 for number in range(10)]
    one = REWARDS.emission(Epoch(1, EMISSION, (), STAKES, dict.fromkeys(VALIDATORS, scores)))
    stakes = STAKES | {VALIDATORS[0]: 0} | dict.fromkeys(keys, 100)
    many = REWARDS.emission(Epoch(1, EMISSION, (), stakes, dict.fromkeys([*VALIDATORS[1:], *keys], scores)))
    assert abs(sum(many[key] for key in keys) - one[VALIDATORS[0]]) <= len(keys)


# --- exactness -------------------------------------------------------------------------------------------------------


weights = st.dictionaries(
    st.sampled_from(VALIDATORS), st.dictionaries(st.sampled_from(SERVERS), st.integers(1, MAX_SCORE)), max_size=8
)


@given(weights, st.dictionaries(st.sampled_from(VALIDATORS + SERVERS), st.integers(0, 2**60)), st.integers(0, 2**60))
def test_an_emission_is_paid_out_to_the_last_nano_credit_or_not_at_all(scores, stakes, emission):
    paid = REWARDS.emission(Epoch(1, emission, (), stakes, scores))
    assert sum(paid.values()) in (0, emission)
    assert all(isinstance(amount, int) and amount > 0 and stakes.get(address) for address, amount in paid.items())


@given(weights, st.randoms())
def test_the_order_in_which_ballots_come_changes_nothing(scores, rng):
    shuffled = dict(rng.sample(list(scores.items()), len(scores)))
    epochs = [Epoch(1, EMISSION, (), STAKES, one) for one in (scores, shuffled)]
    assert REWARDS.emission(epochs[0]) == REWARDS.emission(epochs[1])


def test_a_score_counts_as_far_as_more_than_half_of_the_stake_supports_it():
    a, b, c = VALIDATORS[:3]
    one, two = SERVERS[:2]
    scores = {a: {one: 1, two: 1}, b: {one: 1, two: 1}, c: {one: 3, two: 1}}
    assert consensus(scores, STAKES, [one, two]).scores[one] == 2**31
    assert consensus(scores, STAKES | {c: 2001}, [one, two]).scores[one] == 3 * 2**30
    assert consensus(scores, STAKES | {c: 2000}, [one, two]).scores[one] < 3 * 2**30


# --- ballots ---------------------------------------------------------------------------------------------------------


@given(st.dictionaries(st.sampled_from(SERVERS), st.integers(1, MAX_SCORE), min_size=1), st.integers(0, 2**64 - 1))
def test_a_ballot_is_what_it_was_after_the_ledger(scores, epoch):
    ballot = Ballot(VALIDATORS[0], epoch, scores)
    assert Ballot.decode(ballot.encode()) == ballot
    assert ballot.digest == keccak256(ballot.encode())


def test_equal_scores_give_no_equal_digests():
    assert Ballot(VALIDATORS[0], 1, {SERVERS[0]: 1}).digest != Ballot(VALIDATORS[0], 1, {SERVERS[0]: 1}).digest


def test_who_copies_a_commitment_cannot_reveal_it_as_its_own():
    ballot = Ballot(VALIDATORS[0], 1, {SERVERS[0]: 5})
    revealed = {VALIDATORS[0]: ballot.encode(), VALIDATORS[1]: ballot.encode()}
    assert counted(1, revealed) == {VALIDATORS[0]: {SERVERS[0]: 5}}


def test_a_ballot_of_another_epoch_and_nonsense_do_not_count():
    assert counted(2, {VALIDATORS[0]: Ballot(VALIDATORS[0], 1, {SERVERS[0]: 5}).encode(), VALIDATORS[1]: b"?"}) == {}


@given(st.data())
def test_a_changed_ballot_is_another_or_none(data):
    ballot = Ballot(VALIDATORS[0], 1, dict.fromkeys(SERVERS[:3], 7))
    encoded = bytearray(ballot.encode())
    encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        other = Ballot.decode(bytes(encoded))
    except InvalidRequest:
        return
    assert other != ballot
    assert other.encode() == encoded


@pytest.mark.parametrize("scores", [{}, {SERVERS[0]: 0}, {SERVERS[0]: MAX_SCORE + 1}, {SERVERS[0]: 1.5}])
def test_scores_that_are_none_are_refused(scores):
    with pytest.raises(InvalidRequest, match="score"):
        Ballot(VALIDATORS[0], 1, scores)


def test_servers_in_another_order_or_named_twice_are_refused():
    head = Ballot(VALIDATORS[0], 1, dict.fromkeys(SERVERS[:2], 1)).encode()[:-44]
    for first, second in ((1, 0), (0, 0)):
        with pytest.raises(InvalidRequest, match="order"):
            Ballot.decode(head + b"".join(SERVERS[number] + b"\0\1" for number in (first, second)))


def test_measurements_become_scores_in_proportion_and_nothing_measured_is_no_score():
    assert scores_of({SERVERS[0]: 2.0, SERVERS[1]: 1.0, SERVERS[2]: 0.0}) == {SERVERS[0]: 65535, SERVERS[1]: 32768}
    assert scores_of({}) == {}
