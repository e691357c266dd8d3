"""Count the requests that looking at a finished study on S3 takes, with moto's server on this machine (extra ``dev``).

Run it with ``python benchmarks/store_requests.py [--results 1000]``. The server is slow, so that the seconds say
little; requests are what counts on a real one.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from collections import Counter
from typing import Any

import machine
from store_growth import grow
from ticketdiet.store.results import ResultStore

URL = "s3://bucket/runs"


class Counting:
    """A WSGI application that counts the requests of another one by kind."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.asked: Counter[str] = Counter()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Answer a request."""
        self.asked["LIST" if "list-type" in environ["QUERY_STRING"] else environ["REQUEST_METHOD"]] += 1
        return self._app(environ, start_response)


def serve() -> Counting:
    """Start a server with one bucket, and point the AWS client to it."""
    import boto3
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log(self, type: str, message: str, *args: Any) -> None:
            pass

    counting = Counting(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, counting, threaded=True, request_handler=Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    boto3.client("s3").create_bucket(Bucket="bucket")
    return counting


def look(addresses: list[str]) -> None:
    """Open the store, check every result, and read what rows are made from."""
    store = ResultStore.open(URL, create=False)
    assert all(status.state == "done" for status in store.statuses(addresses).values())
    store.fetch(addresses)
    for address in addresses:
        store.document(address, "rows")
        store.document(address, "facts")


def main() -> None:
    """Fill a bucket and look at it: without a summary, again, and with one on a machine that never saw it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=int, default=1000)
    options = parser.parse_args()
    print(machine.in_words())
    counting, found = serve(), {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TICKETDIET_CACHE"] = f"{folder}/writer"
        store = ResultStore.open(URL)
        addresses = grow(store, 0, options.results)
        for name, cache in (("first look", "one"), ("second look", "one"), ("first look, with a summary", "two")):
            if "summary" in name:
                store.summarise("growth", "0" * 16, addresses)
            os.environ["TICKETDIET_CACHE"] = f"{folder}/{cache}"
            counting.asked.clear()
            start = time.perf_counter()
            look(addresses)
            found[name] = dict(counting.asked)
            print(
                f"{name:<28}{counting.asked.total():>8,} requests{time.perf_counter() - start:>8.1f} s  {found[name]}"
            )
    print(json.dumps({"results": options.results, "requests": found}))


if __name__ == "__main__":
    main()
