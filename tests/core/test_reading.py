import os

import pytest

from ticketdiet.core.reading import open_regular, read_text


def test_a_regular_file_is_opened_and_a_link_to_one(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for name in ("file", "link"):
        with open_regular(tmp_path / name) as file:
            assert file.read() == b"abc"


@pytest.mark.skipif(os.name != "posix", reason="needs named pipes and devices")
def test_folders_pipes_and_devices_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="Not a regular file"):
        open_regular(tmp_path / "pipe")
    with pytest.raises(OSError, match="Not a regular file"):
        open_regular("/dev/zero")
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none")


@pytest.mark.skipif(os.name != "posix", reason="needs /dev/fd")
def test_a_pipe_that_the_shell_hands_over_is_read_to_its_end():
    reading, writing = os.pipe()
    try:
        os.write(writing, b"study: piped")
        os.close(writing)
        assert read_text(f"/dev/fd/{reading}", most_bytes=100) == "study: piped"
    finally:
        os.close(reading)


def test_a_text_that_is_too_large_or_not_utf8_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"abcd\xff")
    with pytest.raises(OSError, match="more than 4 bytes"):
        read_text(tmp_path / "file", most_bytes=4)
    with pytest.raises(ValueError, match="utf-8"):
        read_text(tmp_path / "file", most_bytes=5)
