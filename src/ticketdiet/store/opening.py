"""Opening the place that a path or URL names."""

from __future__ import annotations

import json
import os
from urllib.parse import unquote, urlsplit

from ticketdiet.core.errors import NoStore, UserError
from ticketdiet.store.bucket import Bucket
from ticketdiet.store.failures import explained, is_url
from ticketdiet.store.folder import Folder
from ticketdiet.store.layout import STORE_FILE, store_format
from ticketdiet.store.manifest import FORMAT
from ticketdiet.store.place import Place


def open_store_place(url: str | os.PathLike[str], *, create: bool) -> Place:
    """Return the place at ``url`` once a store is known to be there; see ``ResultStore.open`` for the rest."""
    place = open_place(url)
    with explained("open the store", place.url):
        known = store_format(place)
        if known is None and not create:
            raise NoStore(
                f"There is no store at {place.url}.",
                expected=f"a folder with a file {STORE_FILE}",
                way_out="run a study first, or name the store it was run with: --store URL",
            )
        if create:
            place.prepare()
        if known is None:
            place.replace(STORE_FILE, json.dumps({"format": FORMAT}).encode())
    return place


def open_place(url: str | os.PathLike[str]) -> Place:
    """Return the place that ``url`` names: a path, a ``file://`` URL, or any URL that fsspec knows.

    Args:
        url: The path or URL.

    Returns:
        The place; nothing is read or written yet.

    Raises:
        UserError: When the name is empty, or no installed package knows the protocol.
    """
    text = os.fspath(url)
    if not text.strip():
        raise UserError("The store has no name.", expected="a folder or a URL", way_out="give one with --store")
    if text.startswith(("file://", "local://")) and "::" not in text:
        return Folder(unquote(urlsplit(text).path))
    if not is_url(text):
        return Folder(os.path.expanduser(text))
    return _open_bucket(text)


def _open_bucket(url: str) -> Place:
    import fsspec

    try:
        filesystem, root = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise UserError(
            f"The store {url!r} cannot be reached: {error}.",
            expected="a folder, or a URL of a protocol that fsspec knows",
            way_out="install the package for the protocol (for s3:// pip install 'ticketdiet[s3]', for gs:// "
            "pip install gcsfs, for sftp:// pip install paramiko), or give a folder",
        ) from error
    return Bucket(url, filesystem, root)
