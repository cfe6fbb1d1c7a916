"""A client in a notebook or a program: interrupts, ends, models without a tokenizer."""

import _thread
import gc
import json
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

import swarm
from harness.tiny import tiny_model
from helpers import in_background, pages_in_use, wait_until
from swarm.cli import generate
from swarm.cli.support.exits import WRONG
from swarm.client.batch import Batch, Plan
from swarm.client.batch_files import AnswerFile, Job

LONG = {"max_new_tokens": 1900, "ignore_eos": True}
INTERRUPTED = """
import os, signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)
import swarm
def interrupt():
    while sys.argv[3] not in sys.modules:
        time.sleep(0.0005)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt).start()
try:
    swarm.Client(sys.argv[1], sys.argv[2])
    threading.Event().wait(20)
except KeyboardInterrupt:
    print("interrupted")
with swarm.Client(sys.argv[1], sys.argv[2]) as client:
    print(len(client.generate([1, 2, 3], max_new_tokens=4, ignore_eos=True).token_ids))
"""
WAYS = [lambda: signal.raise_signal(signal.SIGINT), _thread.interrupt_main]


@pytest.fixture(scope="module")
def model() -> Iterator[str]:
    with tiny_model() as folder:
        yield folder


@pytest.fixture(scope="module")
def local(model) -> Iterator[swarm.LocalSwarm]:
    with swarm.LocalSwarm(model, "0:3", threads=1) as local:
        yield local


@pytest.fixture(scope="module")
def client(model, local) -> Iterator[swarm.Client]:
    with swarm.Client(Path(model), local.peers[0]) as client:
        yield client


def interrupted(
    client: swarm.Client,
    work: Callable[[], object],
    way: Callable[[], object],
    has_begun: Callable[[], bool] = lambda: True,
) -> KeyboardInterrupt:
    """`work`, interrupted when a session is open, leaves none behind, and a client that goes on."""
    before = client.generate("Before", max_new_tokens=4).token_ids

    def interrupt() -> None:
        assert wait_until(lambda: has_begun() and pages_in_use(client) > 0, 30)
        way()

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    with pytest.raises(KeyboardInterrupt) as interrupt:
        work()
    thread.join(30)
    assert wait_until(lambda: pages_in_use(client) == 0, 10)
    assert client.generate("Before", max_new_tokens=4).token_ids == before
    return interrupt.value


@pytest.mark.parametrize("way", WAYS, ids=["signal", "interrupt_main"])
def test_ctrl_c_ends_a_generation_and_not_the_client(client, way):
    interrupted(client, lambda: client.generate("Once", **LONG), way)
    interrupted(client, lambda: client.generate(["Once", "Twice"], **LONG), way)


def test_ctrl_c_while_a_first_client_is_made_leaves_a_process_that_can_make_another(model, local):
    """Neither numpy nor torch can be imported twice."""
    processes = [
        subprocess.Popen([sys.executable, "-c", INTERRUPTED, model, local.peers[0], module],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for module in ("numpy._core.multiarray", "torch.types", "torch.nn.functional")
    ]  # fmt: skip
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert (out.split()[0], out.split()[-1], process.returncode) == ("interrupted", "4", 0), err


@pytest.mark.parametrize("way", WAYS, ids=["signal", "interrupt_main"])
def test_a_stream_that_is_interrupted_keeps_what_it_had(client, way):
    stream = client.stream("Once", **LONG)
    shown = []
    interrupted(client, lambda: shown.extend(stream), way, lambda: bool(stream.generation.token_ids))
    out = stream.generation
    assert 0 < len(out.token_ids) < 1900
    assert out.finish_reason == ""
    assert out.text.startswith("".join(shown))
    assert list(stream) == []


def test_an_interrupt_carries_what_was_generated_by_then(client):
    expected = client.generate(["Once"], max_new_tokens=4, ignore_eos=True)[0].token_ids
    end = client.generate("Twice", max_new_tokens=1).text
    error = interrupted(client, lambda: client.generate(["Once", "Twice"], stop=[end], **LONG), WAYS[0])
    once, twice = error.generations
    assert (twice.finish_reason, once.finish_reason) == ("stop", "")
    assert once.token_ids[:4] == expected[: len(once.token_ids)]


def test_an_error_says_which_prompt_of_a_list_it_is_about(client):
    too_long = "word " * 5000
    with pytest.raises(swarm.InvalidRequest, match=r"^prompt 1: ") as error:
        client.generate(["Once", too_long], max_new_tokens=4, ignore_eos=True)
    assert error.value.prompt_index == 1
    assert len(error.value.generations) == 2
    with pytest.raises(swarm.InvalidRequest, match=r"^prompt 1: the prompt is empty") as error:
        client.generate(["Once", ""])
    assert error.value.prompt_index == 1
    with pytest.raises(swarm.InvalidRequest) as error:
        client.generate(too_long)
    assert (error.value.prompt_index, len(error.value.generations)) == (None, 1)
    assert "prompt 0" not in str(error.value)


def test_ctrl_c_ends_a_batch_and_not_the_client(client, tmp_path):
    with AnswerFile(tmp_path / "answers.jsonl") as answers:
        batch = Batch([Job("one", "Once"), Job("two", "Twice")], answers, Plan(LONG))
        interrupted(client, lambda: client.run_batch(batch), WAYS[0])
    assert batch.progress.done < 2


def test_an_interrupt_is_not_for_other_threads_work(client):
    expected = client.generate("Other", max_new_tokens=300, ignore_eos=True).token_ids
    other = in_background(lambda: client.generate("Other", max_new_tokens=300, ignore_eos=True))
    stream = client.stream("Once", **LONG)
    threading.Timer(0.3, _thread.interrupt_main).start()
    with pytest.raises(KeyboardInterrupt):
        list(stream)
    assert other.result(60).token_ids == expected


def test_no_prompts_give_no_generations(client):
    assert client.generate([]) == []
    assert list(client.stream([])) == []


def test_a_client_and_its_servers_print_as_what_they_are(client, local, model):
    assert repr(client) == f"<Client of {Path(model).name}, 3 blocks, 1 peer>"
    assert repr(local) == f"<LocalSwarm of {model}: 0:3>"
    (server,) = local.servers
    assert repr(server) == f"<LocalServer {server.peer_id[-8:]} 0:3, process {server.pid}, alive>"


def test_a_closed_client_says_so_in_every_public_method(model, local, tmp_path):
    with swarm.Client(model, local.peers) as client:
        stream = client.stream("Once", **LONG)
        next(stream)
    client.close()  # once more is no harm
    calls = [
        lambda: client.generate("x"), lambda: client.generate([]), lambda: client.stream("x"),
        lambda: client.encode("x"), lambda: client.receipts, client.usable_peers, client.wait_for_audits,
        client.announce_convictions, client.arbitrate, lambda: client.run_batch(None), client.__enter__,
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(swarm.SwarmError, match="this client is closed; make another"):
            call()
    with pytest.raises(swarm.SwarmError, match="the client was closed while it was generating"):
        list(stream)
    assert repr(client).endswith(", closed>")


def test_a_client_that_no_variable_refers_to_any_more_leaves(model, local):
    before = set(psutil.Process().children())
    dropped = swarm.Client(model, local.peers)
    assert dropped.generate([1, 2], max_new_tokens=2, ignore_eos=True).token_ids
    its_daemon = set(psutil.Process().children()) - before
    assert its_daemon
    dropped = None
    gc.collect()
    wait_until(lambda: not any(one.is_running() for one in its_daemon), 30)


@pytest.mark.parametrize("names", [False, True])
def test_a_client_of_a_local_swarm_that_was_stopped_says_so_instead_of_waiting(model, names):
    local = swarm.LocalSwarm(model, "0:3", threads=1, kv_memory="32M").start()
    with swarm.Client(model, local if names else None) as old:
        assert old.generate([1, 2], max_new_tokens=2, ignore_eos=True).token_ids
        local.stop()
        with pytest.raises(swarm.SwarmError, match="that this client was made for was stopped; make another client"):
            old.generate([1, 2], max_new_tokens=2)


def test_what_has_a_peers_id_stands_for_it(model, local):
    with swarm.Client(model, local, trusted=local.servers) as client:
        assert [peer.peer_id for peer in client.usable_peers()] == [local.servers[0].peer_id]
        with client.stream([1, 2], max_new_tokens=1900, ignore_eos=True) as stream:
            pass
    assert len(stream.generation.token_ids) < 1900


def test_a_local_swarm_says_what_is_wrong_with_an_argument_that_only_a_server_knows(model):
    with pytest.raises(swarm.InvalidRequest, match=r"'lots' is not a size") as error:
        swarm.LocalSwarm(model, kv_memory="lots").__enter__()
    assert "\n" not in str(error.value)
    with pytest.raises(swarm.InvalidRequest, match="'lowest' is not known") as error:
        swarm.LocalSwarm(model, pricing="lowest").__enter__()
    assert "\n" not in str(error.value)


@pytest.fixture
def bare(model, tmp_path) -> str:
    """The same model without tokenizer files, by the same name."""
    folder = tmp_path / Path(model).name
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("tokenizer*", "chat_template*"))
    return str(folder)


def test_a_folder_without_a_tokenizer_serves_token_ids(bare, local, client):
    expected = client.generate([1, 2, 3], max_new_tokens=5, ignore_eos=True)
    with swarm.Client(bare, local.peers) as wordless:
        out = wordless.generate([1, 2, 3], max_new_tokens=5, ignore_eos=True)
        assert (out.token_ids, out.text, out.finish_reason) == (expected.token_ids, "", "length")
        stream = wordless.stream([1, 2, 3], max_new_tokens=5, ignore_eos=True)
        assert (list(stream), stream.generation.token_ids) == ([], expected.token_ids)
        for prompt, options, complaint in (
            ("x", {}, "without a tokenizer, and text needs one; give token ids"),
            ([{"role": "user", "content": "x"}], {}, "without a tokenizer, and a conversation needs one"),
            ([1], {"stop": "x"}, "stop is text, and this model comes without a tokenizer"),
        ):
            with pytest.raises(swarm.InvalidRequest, match=complaint):
                wordless.generate(prompt, **options)


def test_the_command_line_says_in_one_line_that_there_is_no_tokenizer(bare, local, capfd):
    for chat in ([], ["--chat"]):
        assert generate.main(["x", *chat, "--model", bare, "--peers", *local.peers]) == WRONG
        out, err = capfd.readouterr()
        assert out == ""
        assert err.startswith("error: this model comes without a tokenizer")
        assert err.count("\n") == 1


def test_json_of_the_command_line_is_that_of_python(model, local, client, capfd):
    generate.main(["Once", "--json", "--max-new-tokens", "4", "--model", model, "--peers", *local.peers])
    printed = json.loads(capfd.readouterr().out)
    expected = client.generate("Once", max_new_tokens=4).to_dict()
    assert printed.keys() == expected.keys()
    assert (printed["text"], printed["token_ids"]) == (expected["text"], expected["token_ids"])


def test_top_p_without_a_temperature_is_said_to_be_without_effect_once(client, monkeypatch):
    monkeypatch.setattr("swarm.generate.options._said", set())
    with pytest.warns(UserWarning, match="^top_k and top_p without a temperature: greedy, .* set temperature") as told:
        client.generate("Once", max_new_tokens=2, top_p=0.9, top_k=40)
        client.generate(["Once", "Twice"], max_new_tokens=2, top_p=0.8, top_k=40)
        list(client.stream("Once", max_new_tokens=2, temperature=0.7, top_p=0.9))
    assert [Path(one.filename).name for one in told] == ["test_python.py"]


def test_the_command_line_says_so_in_a_line(model, local, capfd):
    with warnings.catch_warnings():
        assert generate.main(["Once", "--top-p", "0.9", "--max-new-tokens", "2", "--model", model, "--peers",
                              *local.peers]) == 0  # fmt: skip
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "warning: top_p without a temperature: greedy, and so without effect; set temperature, as to 0.7"
    assert sum("without effect" in line for line in lines) == 1


def test_streamed_text_comes_without_lines_of_anybody_else(model, local, capfd):
    with swarm.Client(model, local.peers) as client:
        list(client.stream("word " * 1500, max_new_tokens=8, ignore_eos=True))
    assert capfd.readouterr() == ("", "")
