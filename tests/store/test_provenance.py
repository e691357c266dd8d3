"""What a manifest records beside the numbers."""

import json
from datetime import UTC, datetime, timedelta
from importlib import metadata

from ticketdiet.store.provenance import describe_run


def test_versions_machine_and_times_are_plain_json():
    described = describe_run(datetime.now(UTC) - timedelta(seconds=2), threads=1)
    assert json.loads(json.dumps(described)) == described
    assert described["versions"]["torch"] == metadata.version("torch")
    assert described["machine"]["threads"] == 1
    assert described["seconds"] >= 2
