"""Fixtures shared by all tests."""

import os
import signal

import pytest
import torch
import transformers
from hypothesis import HealthCheck, settings
from transformers import PreTrainedTokenizerFast
from transformers.initialization import no_init_weights

import swarm
import warm
from swarm.home import client_identity
from swarm.market.ledger.opening import open_ledger
from swarm.model import Checkpoint, open_checkpoint
from swarm.wire.formats.amounts import CREDIT

# Timings never decide a test: the machine may be busy with the servers of others.
settings.register_profile("swarm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("swarm")


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c():
    """What a shell starts in the background ignores it, and so would all that tests start and then interrupt."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Tests run beside servers of their own, and torch's threads stall when they have to share a core."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _warm_servers():
    """Servers are forked from a process that has imported everything, see warm.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(swarm.LocalSwarm, "start_process", staticmethod(warm.start))
        yield


@pytest.fixture(scope="session", autouse=True)
def _own_home(tmp_path_factory):
    """What tests learn of peers is not for this user's clients to remember. Who looks for a swarm on this machine sets
    a home of its own."""
    before = os.environ.get("SWARM_HOME")
    os.environ["SWARM_HOME"] = str(tmp_path_factory.mktemp("home"))
    yield
    if before is None:
        del os.environ["SWARM_HOME"]
    else:
        os.environ["SWARM_HOME"] = before


@pytest.fixture(scope="session")
def demo_checkpoint() -> Checkpoint:
    return open_checkpoint("demo")


@pytest.fixture(scope="session")
def demo_tokenizer(demo_checkpoint) -> PreTrainedTokenizerFast:
    return demo_checkpoint.load_tokenizer()


@pytest.fixture(scope="session")
def reference_model(demo_checkpoint) -> "transformers.PreTrainedModel":
    """The demo model as transformers computes it, float32.

    Its weights come through our own reader, because transformers takes 20 s for the file; test_model_demo.py shows
    that they are the ones gguf reads, and its slow test that they are the ones transformers reads.
    """
    config = demo_checkpoint.config
    options = transformers.LlamaConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.num_blocks,
        num_attention_heads=config.num_heads,
        num_key_value_heads=config.num_kv_heads,
        max_position_embeddings=config.max_context,
        rms_norm_eps=config.norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope.theta},
        tie_word_embeddings=True,
        eos_token_id=list(config.eos_token_ids),
        bos_token_id=None,
        pad_token_id=config.eos_token_ids[0],
    )
    with no_init_weights():
        model = transformers.LlamaForCausalLM(options)
    state = {
        "model.embed_tokens.weight": demo_checkpoint.load_embedding(torch.float32),
        "lm_head.weight": demo_checkpoint.load_head(torch.float32),
        "model.norm.weight": demo_checkpoint.load_final_norm(torch.float32),
    }
    for index in range(config.num_blocks):
        state |= _hugging_face_names(index, demo_checkpoint.load_block(index, torch.float32), config)
    model.load_state_dict(state, strict=True, assign=True)
    return model.eval()


def _hugging_face_names(index, block, config) -> dict[str, torch.Tensor]:
    query, key = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    q, k, v = block["qkv"].split([query, key, key])
    gate, up = block["gate_up"].chunk(2)
    names = {
        "input_layernorm": block["attn_norm"],
        "self_attn.q_proj": q,
        "self_attn.k_proj": k,
        "self_attn.v_proj": v,
        "self_attn.o_proj": block["o"],
        "post_attention_layernorm": block["mlp_norm"],
        "mlp.gate_proj": gate,
        "mlp.up_proj": up,
        "mlp.down_proj": block["down"],
    }
    return {f"model.layers.{index}.{name}.weight": tensor for name, tensor in names.items()}


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """A ledger in a folder, seen by this user's clients, who made it and so can mint."""
    folder = tmp_path_factory.mktemp("ledger")
    ledger = open_ledger(str(folder), client_identity())
    ledger.mint(client_identity().address, 100 * CREDIT)
    yield folder, ledger
    ledger.shut()
