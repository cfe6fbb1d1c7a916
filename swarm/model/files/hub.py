"""Files of a repository on the Hugging Face hub, or in the cache that this machine has of it."""

import socket
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from huggingface_hub import hf_hub_download
from huggingface_hub.constants import ENDPOINT
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

from swarm.errors import ModelError
from swarm.model.names import FORMS


def download(repository: str, filename: str, revision: str | None) -> Path:
    try:
        return Path(hf_hub_download(repository, filename, revision=revision, local_files_only=_is_offline()))
    except LocalEntryNotFoundError as error:
        raise ModelError(f"cannot fetch {filename} of {repository!r}: the hub is not reachable; {FORMS}") from error
    except (EntryNotFoundError, HfHubHTTPError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"cannot fetch {filename} of {repository!r}: {reason}; {FORMS}") from error


def download_if_there(repository: str, filename: str, revision: str) -> Path | None:
    """None: the repository has no such file."""
    try:
        return Path(hf_hub_download(repository, filename, revision=revision, local_files_only=_is_offline()))
    except EntryNotFoundError:  # not in the repository, or, without a connection, not in the cache
        return None


def _is_offline() -> bool:
    """Whether the hub's name leads nowhere: the hub's library tries six times then, for half a minute, and says so each
    time. What it has kept is used all the same."""
    if getproxies():
        return False  # whoever asks for us knows the name, perhaps
    try:
        return not socket.getaddrinfo(urlsplit(ENDPOINT).hostname, None)
    except OSError:
        return True
