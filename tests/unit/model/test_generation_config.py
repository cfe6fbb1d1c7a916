"""How a model's makers would have it sampled."""

import json

import pytest

from model_files import small_model
from swarm.errors import ModelError
from swarm.model import open_checkpoint
from swarm.model.generation_config import load_generation_defaults, parse_generation_config


@pytest.mark.parametrize(
    ("config", "options"),
    [
        ({}, {}),
        ({"eos_token_id": 2, "do_sample": None}, {}),
        ({"do_sample": False, "temperature": 0.6, "top_k": 50}, {"temperature": 0.0}),
        ({"do_sample": True}, {"temperature": 1.0}),
        ({"do_sample": True, "temperature": 0.6, "top_p": 0.95, "top_k": 20},
         {"temperature": 0.6, "top_p": 0.95, "top_k": 20}),
        ({"temperature": 1, "top_k": 0, "top_p": 1.0}, {"temperature": 1.0, "top_p": 1.0}),
        ({"top_p": 0.9}, {"temperature": 1.0, "top_p": 0.9}),
        ({"repetition_penalty": 1.05}, {"repetition_penalty": 1.05}),
        ({"temperature": 0.6000000238418579}, {"temperature": 0.6}),
    ],
)  # fmt: skip
def test_it_is_read_as_transformers_means_it(config, options):
    assert parse_generation_config(config).options() == options


@pytest.mark.parametrize(
    "config",
    [
        {"temperature": "hot"}, {"temperature": -1}, {"temperature": float("nan")}, {"temperature": True},
        {"temperature": 10**400}, {"do_sample": 1}, {"top_p": 1.5}, {"top_k": -1}, {"top_k": 2.5},
        {"repetition_penalty": 0},
    ],
)  # fmt: skip
def test_nonsense_is_refused_by_its_name(config):
    with pytest.raises(ModelError, match=next(iter(config))):
        parse_generation_config({"do_sample": True} | config)


def test_it_lies_beside_the_weights(tmp_path):
    small_model().save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").unlink()
    checkpoint = open_checkpoint(str(tmp_path))
    assert load_generation_defaults(checkpoint).options() == {}
    (tmp_path / "generation_config.json").write_text(json.dumps({"do_sample": True, "temperature": 0.3}))
    assert load_generation_defaults(checkpoint).options() == {"temperature": 0.3}
    (tmp_path / "generation_config.json").write_text("[")
    with pytest.raises(ModelError, match=r"generation_config\.json"):
        load_generation_defaults(checkpoint)


def test_the_demo_model_says_nothing(demo_checkpoint):
    assert load_generation_defaults(demo_checkpoint).options() == {}
