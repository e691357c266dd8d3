"""From a path or URL to the place it names."""

from __future__ import annotations

import os
from urllib.parse import unquote, urlsplit

from ticketdiet.core.errors import UserError
from ticketdiet.store.bucket import Bucket
from ticketdiet.store.folder import Folder
from ticketdiet.store.place import Place


def open_place(url: str | os.PathLike[str]) -> Place:
    """Return the place that ``url`` names: a path, a ``file://`` URL, or any URL that fsspec knows.

    Raises:
        UserError: When nothing installed knows the protocol.
    """
    text = os.fspath(url)
    if not text.strip():
        raise UserError("the store has no name.", expected="a folder or a URL", way_out="give one with --store")
    if text.startswith(("file://", "local://")) and "::" not in text:
        return Folder(unquote(urlsplit(text).path))
    if "://" not in text and "::" not in text:
        return Folder(os.path.expanduser(text))
    return _open_bucket(text)


def _open_bucket(url: str) -> Place:
    import fsspec

    try:
        filesystem, root = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise UserError(
            f"the store {url!r} cannot be reached: {error}.",
            expected="a folder, or a URL of a protocol that fsspec knows",
            way_out="install what the protocol needs (for s3:// `pip install s3fs`), or give a folder",
        ) from error
    return Bucket(url, filesystem, root)
