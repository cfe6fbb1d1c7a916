"""Small models in files."""

import pytest

from model_files import small_model


@pytest.fixture
def folder(tmp_path):
    small_model().save_pretrained(tmp_path / "small")
    return tmp_path / "small"


@pytest.fixture
def shards(tmp_path):
    small_model().save_pretrained(tmp_path / "sharded", max_shard_size="30KB")
    return tmp_path / "sharded"
