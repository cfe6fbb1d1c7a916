"""A program that uses a client and forks, as multiprocessing does on Linux."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

from harness.tiny import tiny_model

PROGRAM = """
    import json, multiprocessing, os, sys, time
    import swarm

    def use(client, stream, local, answers):
        errors = []
        for attempt in (lambda: client.generate("x"), lambda: client.stream("x"), client.usable_peers,
                        lambda: next(stream), lambda: local.start("0:3"), lambda: local.servers[0].kill()):
            try:
                attempt()
            except swarm.SwarmError as error:
                errors.append(str(error))
        shown = repr(local), local.servers[0].alive
        client.close()
        local.close()
        with swarm.Client(sys.argv[1], local.peers) as own:
            answers.put((errors, shown, own.generate("It is told that", max_new_tokens=8).token_ids))

    def main():
        result, results = os.pipe()
        generate = lambda: client.generate("It is told that", max_new_tokens=8).token_ids
        with swarm.LocalSwarm(sys.argv[1], ["0:3"], threads=1) as local:
            with swarm.Client(sys.argv[1], local.peers) as client:
                stream = client.stream("It is told that", max_new_tokens=600, ignore_eos=True)
                told = {"alone": generate()}
                next(stream)
                idle = os.fork()
                if idle == 0:
                    time.sleep(600)
                    os._exit(0)
                told["beside a child"] = generate()
                plain = os.fork()
                if plain == 0:
                    sys.exit(0)  # runs all finalisers, and leaves this function's contexts
                told["status of one that ends"] = os.waitpid(plain, 0)[1]
                context = multiprocessing.get_context("fork")
                answers = context.SimpleQueue()
                child = context.Process(target=use, args=(client, stream, local, answers))
                child.start()
                told["errors"], told["shown"], told["child"] = answers.get()
                child.join()
                told["afterwards"] = generate()
                told["stream"] = 1 + sum(1 for _ in stream)
            readable, writable = os.pipe()
            late = os.fork()
            if late == 0:
                os.read(readable, 1)
                os.write(results, repr(local.servers[0].alive).encode())
                os._exit(0)
            local.servers[0].kill()
            os.write(writable, b"x")
            os.waitpid(late, 0)
            told["killed"] = os.read(result, 16).decode()
        os.kill(idle, 9)
        print(json.dumps(told))

    main()
"""


@pytest.fixture(scope="module")
def told():
    with tiny_model() as model:
        command = [sys.executable, "-c", textwrap.dedent(PROGRAM), model]
        environment = {**os.environ, "OMP_NUM_THREADS": "2"}  # a child has none of the threads that compute, either
        result = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, env=environment)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_the_parent_goes_on_as_if_there_were_no_children(told):
    assert told["alone"] == told["beside a child"] == told["afterwards"]
    assert told["stream"] > 100


def test_a_child_that_simply_ends_does_so(told):
    assert told["status of one that ends"] == 0


def test_in_a_child_the_parents_client_gives_one_clear_error_and_a_new_one_works(told):
    things = ["client", "client", "client", "stream", "swarm", "server"]
    assert [error.split()[1] for error in told["errors"]] == things
    assert all("make another" in error for error in told["errors"])
    assert told["child"] == told["alone"]


def test_in_a_child_the_parents_servers_are_shown_as_they_are(told):
    state, is_alive = told["shown"]
    assert state.endswith(": 0:3>")
    assert is_alive
    assert told["killed"] == "False"
