"""A cheat from end to end: caught by ordinary use, convicted, avoided, and known to clients that never met it.

What is expected: a stranger's work is audited with probability 0.2 a segment. Here a generation is one segment, so the
chance that a cheat survives n generations is 0.8^n: 5 are expected, and 60 are survived once in 650,000 trials. In
tokens, with segments of 256: 1,280 are expected, and 5,120 of a known peer, of whose work 5 % are audited.
"""

import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import swarm
from helpers import wait_until
from swarm.home import digests_folder, evidence_folder, standing_file, thresholds_folder
from swarm.model.digest_cache import DigestCache
from swarm.verify.audit.expert import Expert
from swarm.verify.audit.judging.judgement import Verdict
from swarm.verify.fraud.evidence import Bundle
from swarm.verify.fraud.examination import examine
from swarm.verify.reputation.standing import NEWCOMER_AUDIT_RATE, Event
from swarm.verify.reputation.store import ReputationStore

CHEATING = str(Path(__file__).parents[2] / "support" / "trust" / "cheating_server.py")
PROMPT = "The capital of France is"
OPTIONS = {"max_new_tokens": 8, "ignore_eos": True}
MOST = 60  # generations


@pytest.fixture(scope="module")
def local() -> Iterator[swarm.LocalSwarm]:
    """Blocks 0:2 and 4:30 on one honest peer each, 2:4 on three; servers that are added serve int4 for bfloat16."""
    with (
        swarm.LocalSwarm(
            "demo", ["0:2", "4:30", "2:4", "2:4", "2:4"], dtype="bfloat16", threads=1, kv_memory="64M"
        ) as local,
        pytest.MonkeyPatch.context() as patch,
        tempfile.NamedTemporaryFile("w") as file,
    ):
        local.cheat = Path(file.name)
        local.cheat.write_text("int4-as-bf16")
        patch.setenv("CHEAT_FILE", file.name)
        local.program = (CHEATING,)
        yield local


@pytest.fixture
def cheat(local) -> Iterator[str]:
    """Its peer id; another one for each test, because they tell each other."""
    server = local.start("2:4")
    yield server.peer_id
    server.kill()
    local.servers.remove(server)


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A client that knows nobody."""
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    return tmp_path


def peer_ids(local: swarm.LocalSwarm) -> tuple[list[str], list[str]]:
    """Of the two that nobody else can replace, and of the honest ones in the middle."""
    ids = [server.peer_id for server in local.servers]
    return ids[:2], ids[2:5]


def chain(local: swarm.LocalSwarm, middle: str) -> list[swarm.Hop]:
    """With this peer in the middle."""
    first, last = local.servers[:2]
    return [swarm.Hop(first.peer_id, (0, 2), ""), swarm.Hop(middle, (2, 4), ""), swarm.Hop(last.peer_id, (4, 30), "")]


def expected(local: swarm.LocalSwarm, cheat: str, **options: object) -> swarm.Generation:
    """On honest servers only."""
    with swarm.Client("demo", local.peers, audit="off", excluded=[cheat]) as client:
        return client.generate(PROMPT, **{**OPTIONS, **options})


def judged(generation: swarm.Generation, peer_id: str) -> list[Verdict]:
    return [audit.verdict for audit in generation.audits if audit.peer_id == peer_id and audit.judgement]


def generations_until_caught(client: swarm.Client, cheat: str) -> int:
    """How many ordinary ones it takes, with audits at the default rate."""
    for count in range(1, MOST + 1):
        out = client.generate(f"{PROMPT} {count}", **OPTIONS)
        assert wait_until(lambda: not client.parts.trust.auditing._running, timeout_s=60)
        if Verdict.FAIL in judged(out, cheat):
            return count
    raise AssertionError(f"not caught in {MOST} generations")


def test_ordinary_use_catches_a_cheat_and_the_evidence_convicts_it_anywhere(
    local, cheat, home, demo_checkpoint, monkeypatch
):
    """Alone: the only peer of its blocks that this client may use, with the model's files on the client's machine."""
    ends, _ = peer_ids(local)
    alone = swarm.Client("demo", local.peers, audit="local", trusted=[*ends, cheat], coverage_timeout_s=0.0)
    with alone as client:
        assert client.parts.router.table.reputation.audit_rate(cheat) == NEWCOMER_AUDIT_RATE
        generations_until_caught(client, cheat)
        with pytest.raises(swarm.NoRoute, match=r"blocks 2:4 are served by .* was found to cheat"):
            client.generate(PROMPT, **OPTIONS)
    (file,) = evidence_folder().glob("*.evidence")
    data = file.read_bytes()

    monkeypatch.setenv("SWARM_HOME", str(home / "elsewhere"))  # a machine that saw nothing of it
    bundle = Bundle.decode(data)
    assert bundle.case.peer_id == cheat
    expert = Expert(demo_checkpoint, thresholds_folder())
    assert examine(bundle, expert, DigestCache(digests_folder())).judgement.verdict == Verdict.FAIL


def test_fully_verified_text_is_the_honest_one_and_the_chain_goes_around_the_cheat(local, cheat, home):
    honest = expected(local, cheat)
    ends, middle = peer_ids(local)
    with swarm.Client("demo", local.peers, audit="local", trusted=[*ends, cheat, middle[0]]) as client:
        out = client.generate(PROMPT, **OPTIONS, verify="full", through=chain(local, cheat))
        assert Verdict.FAIL in judged(out, cheat)
        assert [hop.peer_id for hop in out.route][1] == middle[0]
        assert (out.text, out.verified) == (honest.text, OPTIONS["max_new_tokens"])
        again = client.generate(PROMPT, **OPTIONS)
        assert cheat not in {hop.peer_id for hop in again.route}
        assert again.text == honest.text


@pytest.mark.slow
def test_one_honest_replica_is_enough_for_a_client_that_can_decide_a_dispute(local, cheat, home):
    ends, middle = peer_ids(local)
    with swarm.Client("demo", local.peers, trusted=[*ends, cheat, middle[0]], audit_rate=1.0) as client:
        out = client.generate(PROMPT, **OPTIONS, through=chain(local, cheat))
        assert wait_until(lambda: judged(out, cheat) == [Verdict.FAIL], timeout_s=60)
        reputation = client.parts.router.table.reputation
        assert reputation.is_shunned(cheat) and not reputation.is_shunned(middle[0])


@pytest.mark.slow
def test_a_panel_gives_a_proof_that_others_hear_of_and_believe_as_far_as_they_know_the_witnesses(
    local, cheat, home, monkeypatch
):
    """Two clients that never met the cheat: one has audited two of the witnesses before, one knows nobody."""
    _, middle = peer_ids(local)
    with swarm.Client("demo", local.peers, audit_rate=1.0) as accuser:
        out = accuser.generate(PROMPT, **OPTIONS, through=chain(local, cheat))
        assert wait_until(lambda: accuser.parts.router.table.reputation.is_convicted(cheat), timeout_s=60)
        assert wait_until(lambda: judged(out, cheat) == [Verdict.FAIL], timeout_s=10)
        monkeypatch.setenv("SWARM_HOME", str(home / "acquainted"))
        with closing(ReputationStore(standing_file())) as reputation:
            for honest in middle:
                reputation.observe(honest, Event.AUDIT_PASSED)
        with swarm.Client("demo", local.peers) as acquainted:
            assert wait_until(lambda: acquainted.parts.router.table.reputation.is_convicted(cheat), timeout_s=60)
            assert cheat not in {peer.peer_id for peer in acquainted.parts.router.table.usable()}
        monkeypatch.setenv("SWARM_HOME", str(home / "stranger"))
        with swarm.Client("demo", local.peers) as stranger:
            standing = stranger.parts.router.table.reputation.standing
            assert wait_until(lambda: standing(cheat).is_suspect, timeout_s=60)
            assert not standing(cheat).is_shunned
            assert standing(cheat).audit_rate == 1.0  # whom somebody accuses is looked at every time


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [8, 1])
def test_who_breaks_off_when_it_is_asked_passes_no_check_and_costs_no_token(local, cheat, home, tokens):
    """Of a single token everything is signed when it is there, and who breaks off then has withheld no receipt."""
    options = {**OPTIONS, "max_new_tokens": tokens}
    honest = expected(local, cheat, **options)
    ends, middle = peer_ids(local)
    before = local.cheat.read_text()
    local.cheat.write_text("hang-up")
    try:
        with swarm.Client("demo", local.peers, audit="local", trusted=[*ends, cheat, middle[0]]) as client:
            out = client.generate(PROMPT, **options, verify="full", through=chain(local, cheat))
            assert out.reroutes
            assert [hop.peer_id for hop in out.route][1] == middle[0]
            assert out.text == honest.text
    finally:
        local.cheat.write_text(before)
