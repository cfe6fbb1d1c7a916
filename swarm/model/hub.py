"""Files of a repository on the Hugging Face hub, or in the cache that this machine has of it."""

from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

from swarm.errors import ModelError
from swarm.model.names import FORMS


def download(repository: str, filename: str, revision: str | None) -> Path:
    try:
        return Path(hf_hub_download(repository, filename, revision=revision))
    except LocalEntryNotFoundError as error:
        raise ModelError(f"cannot fetch {filename} of {repository!r}: the hub is not reachable; {FORMS}") from error
    except (EntryNotFoundError, HfHubHTTPError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"cannot fetch {filename} of {repository!r}: {reason}; {FORMS}") from error


def download_if_there(repository: str, filename: str, revision: str) -> Path | None:
    try:
        return Path(hf_hub_download(repository, filename, revision=revision))
    except EntryNotFoundError:  # not in the repository, or, without a connection, not in the cache
        return None
