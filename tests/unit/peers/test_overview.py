"""What `swarm status` makes of records and answers."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overviews import NUM_BLOCKS, answer, look, peer, ranges, states
from swarm.model.names import model_name
from swarm.peers.status.overview import State
from swarm.route.costs import BATCHES, Link
from swarm.wire import messages_pb2 as pb


@given(ranges)
def test_each_block_has_as_many_replicas_as_peers_that_contain_it_and_gaps_where_there_are_none(blocks):
    view = look(*(peer(str(index), *r) for index, r in enumerate(blocks)))
    expected = [sum(block in range(*r) for r in blocks) for block in range(NUM_BLOCKS)]
    assert list(view.replicas) == expected
    missing = {block for gap in view.gaps for block in range(*gap)}
    assert missing == {block for block, count in enumerate(expected) if count == 0}
    assert view.complete == (not missing)


@given(ranges, st.data())
def test_the_expected_throughput_is_that_of_the_block_whose_peers_do_least(blocks, data):
    times = data.draw(st.lists(st.floats(1e-4, 1.0), min_size=len(blocks), max_size=len(blocks)))
    view = look(*(peer(str(i), *r, decode_s=(t,)) for i, (r, t) in enumerate(zip(blocks, times, strict=True))))
    per_block = [
        sum(
            1 / ((stop - start) * time)
            for (start, stop), time in zip(blocks, times, strict=True)
            if start <= block < stop
        )
        for block in range(NUM_BLOCKS)
    ]
    assert view.capacity_tokens_per_s == pytest.approx(per_block)
    assert view.expected_tokens_per_s == pytest.approx(min(per_block))


def test_batches_count_for_the_throughput_where_a_peer_announces_them():
    view = look(peer("a", 0, NUM_BLOCKS, decode_s=(0.001, 0.0015, 0.004)))
    assert view.expected_tokens_per_s == pytest.approx(BATCHES[1] / 0.0015 / NUM_BLOCKS)


def test_nothing_is_expected_of_peers_that_announce_no_costs():
    view = look(peer("a", 0, 6, decode_s=(0.001,)), peer("b", 6, 12))
    assert view.expected_tokens_per_s is None


def test_a_silent_peer_is_shown_but_serves_nothing():
    view = look(peer("a", 0, 6), peer("b", 6, 12), silent="b")
    assert states(view) == {"a": State.ONLINE, "b": State.UNREACHABLE}
    assert view.gaps == ((6, 12),)
    assert view.peers[1].sessions is None
    assert view.peers[1].round_trip_s is None


def test_a_leaving_peer_is_shown_but_serves_no_new_sessions():
    view = look(peer("a", 0, 12, state=pb.LEAVING), peer("b", 0, 6))
    assert states(view) == {"a": State.LEAVING, "b": State.ONLINE}
    assert view.gaps == ((6, 12),)


def test_a_loading_peer_serves_nothing_yet_and_a_moving_one_still_does():
    view = look(peer("a", 0, 6, state=pb.JOINING), peer("b", 6, 12, state=pb.MOVING), silent="a")
    assert states(view) == {"a": State.LOADING, "b": State.MOVING}
    assert (view.gaps, view.loading, view.complete) == ((), ((0, 6),), False)


def test_what_nobody_serves_or_loads_is_a_gap():
    view = look(peer("a", 0, 6, state=pb.JOINING), peer("b", 8, 12), silent="a")
    assert (view.gaps, view.loading) == (((6, 8),), ((0, 6),))


def test_who_promises_the_same_bits_for_all_of_a_peers_blocks_can_audit_it():
    same = replace(peer("a", 0, 6), numerics_id="n"), replace(peer("b", 0, 12), numerics_id="n")
    others = replace(peer("c", 0, 6), numerics_id="m"), peer("d", 0, 12), peer("e", 0, 12)
    view = look(*same, *others)
    assert {one.peer_id: one.auditors for one in view.peers} == {"a": 1, "b": 0, "c": 0, "d": 0, "e": 0}


def test_a_peer_of_another_revision_than_most_is_flagged_and_covers_nothing():
    view = look(peer("a", 0, 6), peer("b", 0, 12, revision="r0"), peer("c", 0, 6))
    assert view.revision == "r1"
    assert states(view) == {"a": State.ONLINE, "b": State.OTHER_REVISION, "c": State.ONLINE}
    assert view.gaps == ((6, 12),)


@given(st.permutations([peer("a", 0, 6), peer("b", 6, 12, revision="r2"), peer("c", 0, 1), peer("d", 1, 2)]))
def test_the_order_of_the_records_changes_nothing(peers):
    assert look(*peers) == look(*sorted(peers, key=lambda info: info.peer_id))


def test_a_rate_is_what_was_served_between_two_looks():
    before = {"a": answer(100, at_s=10.0), "b": answer(100, at_s=10.0), "c": answer(100, at_s=10.0)}
    now = {"a": answer(160, at_s=12.0), "b": answer(120, at_s=12.0), "c": answer(5, at_s=12.0), "d": answer(9, at_s=12)}
    view = look(peer("a", 0, 6), peer("b", 6, 12), peer("c", 0, 12), peer("d", 0, 12), answers=now, before=before)
    rates = {peer.peer_id: peer.tokens_per_s for peer in view.peers}
    assert rates == {"a": 30.0, "b": 10.0, "c": None, "d": None}  # c has started anew, d was not there
    assert view.tokens_per_s == 10.0  # whatever passed a has passed b


def test_sessions_are_counted_once_though_every_hop_has_them():
    load = {"a": answer(sessions=3), "b": answer(sessions=2), "c": answer(sessions=1)}
    assert look(peer("a", 0, 6), peer("b", 6, 12), peer("c", 6, 12), answers=load).sessions == 3


def test_the_next_hop_is_the_nearest_peer_that_can_go_on():
    links = {"b": Link(0.03), "c": Link(0.01), "d": Link(0.001), "e": Link(0.0001)}
    goes_on = [peer("b", 6, 12), peer("c", 4, 12), peer("d", 0, 6), peer("e", 7, 12)]
    view = look(peer("a", 0, 6, links=links), *goes_on)
    assert {peer.peer_id: peer.next_hop for peer in view.peers}["a"] == "c"


def test_a_swarm_without_peers_of_the_model_is_not_complete():
    view = look()
    assert (view.complete, view.num_blocks, view.expected_tokens_per_s) == (False, 0, None)


def test_a_model_has_its_name_without_being_opened(tmp_path):
    (tmp_path / "my-model").mkdir()
    names = [str(tmp_path / "my-model"), str(tmp_path / "elsewhere" / "m.gguf"), "owner/name", "demo"]
    assert [model_name(name) for name in names] == ["my-model", "m", "owner/name", "demo"]


def test_a_peer_is_up_since_it_began_and_never_from_the_future():
    view = look(peer("a", 0, 6, started_ms=999_910_000), peer("b", 6, 12, started_ms=2_000_000_000), peer("c", 0, 12))
    assert {one.peer_id: one.uptime_s for one in view.peers} == {"a": 90.0, "b": 0.0, "c": None}
