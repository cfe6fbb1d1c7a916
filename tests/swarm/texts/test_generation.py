"""The main job: a client generates through a chain of real servers, and the tokens are those of one process.

Every chain is made of real server processes, a real DHT and real gRPC, on the real demo model in float32.
"""

import threading
from collections.abc import Callable, Sequence
from functools import cache

import pytest
import torch

import swarm
from helpers import pages_in_use, wait_until

# One hop; two whose ranges overlap, so that the chain enters the second in its middle; uneven ones; five, with one
# block alone among them.
CHAINS = {1: ["0:30"], 2: ["0:17", "9:30"], 3: ["0:1", "1:8", "8:30"], 5: ["0:3", "3:10", "10:11", "11:20", "20:30"]}
SUBJECTS = ["France", "arithmetic", "the sea", "a very old clock", "bread"]
OPENINGS = ["The history of", "Once upon a time,", "def main():\n    # about", "¿Qué sabes de", "Q: What is"]


def make_prompts(tokenizer) -> list[list[int]]:
    """20 prompts of 1 to 1,500 tokens."""
    texts = [f"{opening} {subject}" for opening in OPENINGS for subject in SUBJECTS][:16]
    prompts = [tokenizer(text)["input_ids"] for text in texts]
    filler = tokenizer("The quick brown fox jumps over the lazy dog while the band plays on. " * 110)["input_ids"]
    return [*prompts, [504], filler[:33], filler[:300], filler[:1500]]


@pytest.fixture(scope="module")
def prompts(demo_tokenizer) -> list[list[int]]:
    return make_prompts(demo_tokenizer)


@pytest.fixture(scope="module")
def expected(reference_model, prompts) -> Callable[[Sequence[int], int], list[list[int]]]:
    """What transformers' own generate gives for the prompts of these numbers, so many tokens each: the short ones as
    one batch, padded on the left, which takes a third of the time; the others each alone."""

    @cache
    def tokens(chosen: Sequence[int], count: int) -> list[list[int]]:
        short, long = [prompts[one] for one in chosen if one < 16], [prompts[one] for one in chosen if one >= 16]
        return [
            out for batch in (short, *([one] for one in long)) for out in generate_with(reference_model, batch, count)
        ]

    return tokens


def generate_with(model, prompts: list[list[int]], count: int) -> list[list[int]]:
    longest = max(map(len, prompts))
    padding = [longest - len(prompt) for prompt in prompts]
    out = model.generate(
        torch.tensor([[0] * pad + prompt for pad, prompt in zip(padding, prompts, strict=True)]),
        attention_mask=torch.tensor([[0] * pad + [1] * (longest - pad) for pad in padding]),
        do_sample=False,
        max_new_tokens=count,
        min_new_tokens=count,
        eos_token_id=None,
    )
    return out[:, longest:].tolist()


SLOW = {1: pytest.mark.slow, 2: pytest.mark.slow, 3: (), 5: pytest.mark.slow}
EVERYDAY = (0, 5, 10, 15, 16, 18), 16  # numbers of prompts, and tokens
ALL = pytest.param(tuple(range(20)), 64, marks=pytest.mark.slow)


@pytest.fixture(scope="module", params=[pytest.param(name, marks=SLOW[name], id=f"chain-{name}") for name in CHAINS])
def local(request) -> swarm.LocalSwarm:
    with swarm.LocalSwarm("demo", CHAINS[request.param], dtype="float32", threads=1) as local:
        yield local


@pytest.fixture
def client(local) -> swarm.Client:
    with swarm.Client("demo", local.peers) as client:
        yield client


@pytest.mark.parametrize(("chosen", "count"), [EVERYDAY, ALL], ids=["some", "all"])
def test_greedy_tokens_are_those_of_transformers(local, client, prompts, expected, chosen, count):
    """All prompts at once, at most eight sessions running: neither the chain nor the batch may change a token."""
    wanted = expected(chosen, count)
    singly = client.generate(prompts[chosen[0]], max_new_tokens=count, ignore_eos=True)
    assert singly.token_ids == wanted[0]
    assert [hop.blocks[1] for hop in singly.route][-1] == 30
    outs = client.generate([prompts[one] for one in chosen], max_new_tokens=count, ignore_eos=True)
    assert [out.token_ids for out in outs] == wanted
    assert {out.finish_reason for out in outs} == {"length"}
    for out in outs:
        assert len(out.step_latencies_s) == count - 1
        assert all(seconds > 0 for seconds in [out.time_to_first_token_s, *out.step_latencies_s])


def test_the_route_covers_the_model_in_order(local, client):
    out = client.generate("Hello", max_new_tokens=2, ignore_eos=True)
    edges = [0] + [hop.blocks[1] for hop in out.route]
    assert [hop.blocks[0] for hop in out.route] == edges[:-1]
    assert edges[-1] == 30
    served = {server.peer_id: server.blocks for server in local.servers}
    for hop in out.route:
        start, stop = served[hop.peer_id]
        assert start <= hop.blocks[0] < hop.blocks[1] <= stop
    for hop in out.route:
        signed = [receipt.count for receipt in out.receipts if receipt.peer_id == hop.peer_id]
        assert sum(signed) == len(out.prompt_token_ids) + 1


@pytest.fixture(scope="module")
def pair() -> swarm.LocalSwarm:
    with swarm.LocalSwarm("demo", ["0:15", "15:30"], quant="int4", dtype="float32", threads=1) as local:
        yield local


@pytest.fixture(scope="module")
def shared_client(pair) -> swarm.Client:
    with swarm.Client("demo", pair.peers) as client:
        yield client


def test_several_threads_share_a_client(shared_client):
    alone = [shared_client.generate(text, max_new_tokens=8).token_ids for text in SUBJECTS]
    results: dict[str, list[int]] = {}

    def work(text: str) -> None:
        results[text] = shared_client.generate(text, max_new_tokens=8).token_ids

    threads = [threading.Thread(target=work, args=(text,)) for text in SUBJECTS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [results[text] for text in SUBJECTS] == alone


def test_a_stream_gives_the_text_of_generate(shared_client):
    out = shared_client.generate("The capital of France is", max_new_tokens=24)
    stream = shared_client.stream("The capital of France is", max_new_tokens=24)
    pieces = list(stream)
    assert len(pieces) > 5
    assert "".join(pieces) == out.text == stream.generation.text
    assert stream.generation.token_ids == out.token_ids


def test_a_stream_of_several_prompts_names_each(shared_client):
    prompts = ["The capital of France is", "Bread is made of"]
    texts = ["", ""]
    for index, piece in shared_client.stream(prompts, max_new_tokens=12):
        texts[index] += piece
    assert texts == [out.text for out in shared_client.generate(prompts, max_new_tokens=12)]


def test_leaving_a_stream_ends_its_session(shared_client):
    stream = iter(shared_client.stream("Once upon a time", max_new_tokens=500, ignore_eos=True))
    next(stream)
    stream.close()
    assert wait_until(lambda: pages_in_use(shared_client) == 0, timeout_s=5)


def test_a_stop_string_ends_the_text_before_it(shared_client):
    free = shared_client.generate("Count: one, two, three,", max_new_tokens=24, ignore_eos=True)
    stop = free.text[5:9]
    out = shared_client.generate("Count: one, two, three,", max_new_tokens=24, ignore_eos=True, stop=stop)
    assert out.finish_reason == "stop"
    assert out.text == free.text[: free.text.index(stop)]


def test_a_seed_gives_the_same_tokens_alone_and_among_others(shared_client):
    options = {"max_new_tokens": 12, "temperature": 0.9, "top_p": 0.95, "top_k": 50, "seed": 11}
    alone = shared_client.generate("My favourite food", **options)
    among = shared_client.generate(["A storm", "My favourite food", "In 1850"], **options)
    assert among[1].token_ids == alone.token_ids
    assert shared_client.generate("My favourite food", **{**options, "seed": 12}).token_ids != alone.token_ids


def test_the_end_token_ends_a_generation_unless_ignored(shared_client):
    messages = [{"role": "user", "content": "Say hello."}]
    out = shared_client.generate(messages, max_new_tokens=100)
    assert out.finish_reason == "eos"
    assert "<|im_end|>" not in out.text
    longer = shared_client.generate(messages, max_new_tokens=len(out.token_ids) + 5, ignore_eos=True)
    assert longer.token_ids[: len(out.token_ids)] == out.token_ids
    assert longer.finish_reason == "length"


def test_a_conversation_goes_through_the_chat_template(shared_client, demo_tokenizer):
    messages = [{"role": "user", "content": "Hi"}]
    expected = demo_tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert demo_tokenizer.decode(shared_client.encode(messages)) == expected


def test_token_ids_and_text_are_the_same_prompt(shared_client, demo_tokenizer):
    ids = demo_tokenizer("The sea is")["input_ids"]
    by_text = shared_client.generate("The sea is", max_new_tokens=6)
    assert shared_client.generate(ids, max_new_tokens=6).token_ids == by_text.token_ids


@pytest.mark.parametrize(
    ("prompt", "options", "complaint"),
    [
        ("", {}, "empty"),
        ([[]], {}, "empty"),
        ([10**6], {}, "vocabulary"),
        ([-1], {}, "vocabulary"),
        ("x", {"max_new_tokens": 0}, "max_new_tokens"),
        ("x", {"max_new_tokens": 10**6}, "context"),
        ("x", {"temperature": -1.0}, "temperature"),
        ("x", {"stop": ""}, "stop"),
        ("x", {"max_tokens": 5}, "unknown option 'max_tokens'"),
    ],
)
def test_a_request_that_cannot_work_is_refused_with_its_reason(shared_client, prompt, options, complaint):
    with pytest.raises(swarm.InvalidRequest, match=complaint):
        shared_client.generate(prompt, **options)
