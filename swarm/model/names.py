"""What a model is called. Imports nothing heavy: who only looks at a swarm has no use for its model."""

from swarm.storage.files import expanded

FORMS = 'a model is "demo", a .gguf file, a folder with config.json and safetensors, or a repository id "owner/name"'


def model_name(model: str) -> str:
    """The name under which the directory knows `model`. Nothing is read or downloaded, and the model need not be on
    this machine: what names no folder or .gguf file here is taken for a name as it is."""
    path = expanded(model)
    if model in ("", "demo"):
        return model
    if path.is_dir():
        return path.resolve().name
    return path.stem if path.suffix == ".gguf" else model
