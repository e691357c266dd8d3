"""What every test stands on: a cache of its own session, one thread a process, figures without a display, an S3."""

import os
import socket
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Before torch and matplotlib are first imported, and for every process that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["MPLBACKEND"] = "Agg"

import hypothesis
import pytest
import torch
from torch import nn

# A busy machine is no failure, and what passes here passes everywhere.
hypothesis.settings.register_profile("ticketdiet", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ticketdiet")

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

# The study of all tests: small enough to run to the end in a second or two. Tests change it with settings.
TINY = """
study: tiny
dataset: {name: digits, limit: 96}
model: {name: resnet8, width: 4}
training: {steps: 12, batch_size: 16, lr: 0.05, crop_padding: 1, flip: false, precision: float32}
pruning: {fraction: 0.5, levels: 2}
replicates: 1
scores:
  el2n: {kind: el2n, models: 2, steps: 6}
arms:
  none@0: {}
  all@4: {pretrain: {steps: 4}}
  easiest32@4: {pretrain: {steps: 4, subset: {kind: easiest, size: 32, score: el2n}}}
"""


# Folders whose numbers, or crashes, depend on the vector instructions that PyTorch's kernels use.
FOLDERS_OF_KERNELS = {"models", "training", "scores", "tickets", "landscape", "studies"}


@pytest.hookimpl(tryfirst=True)  # before -m chooses by marks
def pytest_collection_modifyitems(items):
    """Mark what ``make test`` runs on two kinds of CPU, and skip what needs a GPU where there is none."""
    without_gpu = None if torch.cuda.is_available() else pytest.mark.skip(reason="needs a CUDA device")
    for item in items:
        if without_gpu is not None and item.get_closest_marker("cuda"):
            item.add_marker(without_gpu)
        if item.path.relative_to(Path(__file__).parent).parts[0] in FOLDERS_OF_KERNELS:
            item.add_marker("kernels")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Keep decoded images of the tests out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TICKETDIET_CACHE", str(tmp_path_factory.mktemp("cache")))
        for name in ("STORE", "EXECUTOR", "EXECUTORS", "LOG"):
            patch.delenv(f"TICKETDIET_{name}", raising=False)
        yield


@pytest.fixture(scope="session")
def tiny_text():
    """The study of all tests, as YAML."""
    return TINY


@pytest.fixture(scope="session")
def tiny_file():
    """Writes the study of all tests, with some settings, to ``tiny.yaml`` in a folder; returns the path."""
    from ticketdiet.studies.load import parse_study
    from ticketdiet.studies.yaml_text import write_yaml

    def write(folder, *settings):
        path = folder / "tiny.yaml"
        path.write_text(write_yaml(parse_study(TINY, settings).model_dump(mode="json", exclude_unset=True)))
        return path

    return write


@pytest.fixture(scope="session")
def plan_tiny():
    """Plans the study of all tests with some settings."""
    from ticketdiet.studies.load import parse_study
    from ticketdiet.studies.plan import plan_study

    def plan(*settings):
        return plan_study(parse_study(TINY, settings))

    return plan


@pytest.fixture(scope="session")
def run_tiny():
    """Runs a plan in one process of one thread: small trainings only lose by more, and bits depend on how many."""
    from ticketdiet.studies.run import run_plan

    def run(plan, store, **options):
        return run_plan(plan, store, **({"workers": 1, "threads": 1} | options))

    return run


@pytest.fixture(scope="session")
def tiny_setting():
    """A setting of the paper's claims that runs in seconds."""
    from ticketdiet.paper.setting import Setting

    return Setting(
        recipe="digits",
        scale="mini",
        study={
            "dataset": {"name": "digits", "limit": 96},
            "model": {"name": "resnet8", "width": 4},
            "training": {"steps": 8, "batch_size": 16, "lr": 0.05, "crop_padding": 1, "flip": False},
            "pruning": {"fraction": 0.5, "levels": 1},
            "replicates": 2,
        },
        score={"kind": "el2n", "models": 2, "steps": 4},
        early=2,
        late=4,
        sweep=(),
        size=32,
        sizes=(),
        matching=0.5,
        sparse=0.5,
    )


@pytest.fixture
def small_network():
    """Makes a convolution, BatchNorm and a linear layer: 27 + 16 prunable weights a channel of ``width``."""

    def make(seed=0, *, width):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return nn.Sequential(
                nn.Conv2d(3, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.AdaptiveAvgPool2d(2),
                nn.Flatten(),
                nn.Linear(4 * width, 4),
            )

    return make


@dataclass
class S3Server:
    """A real S3 server on this machine, whose answers can be spoiled, and which counts what it is asked.

    Attributes:
        endpoint: Its URL.
        asked: How often each kind of request came, as in ``"GET object"``.
        faults: Called with method and path of each request, the first answer that is not None is given instead.
    """

    LOST = "lost"  # the answer of a fault: the connection ends without one

    endpoint: str = ""
    asked: Counter[str] = field(default_factory=Counter)
    faults: list[Any] = field(default_factory=list)
    app: Any = None

    def __call__(self, environ, start_response):
        method, path, query = environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["QUERY_STRING"]
        self.asked["LIST" if "list-type" in query else f"{method} object"] += 1
        for fault in list(self.faults):
            answer = fault(method, path, query)
            if answer == self.LOST:
                environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
                raise ConnectionAbortedError
            if answer is not None:
                status, code = answer
                body = f"<Error><Code>{code}</Code><Message>{code}, says the test</Message></Error>".encode()
                start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
                return [] if method == "HEAD" else [body]
        return self.app(environ, start_response)


@pytest.fixture(scope="session")
def s3_server():
    """The server; it ends with the tests."""
    pytest.importorskip("s3fs", reason="needs the extra s3")
    pytest.importorskip("moto.server", reason="needs moto[server]")
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log(self, type, message, *args):
            pass

    server = S3Server(app=DomainDispatcherApplication(create_backend_app))
    listening = make_server("127.0.0.1", 0, server, threaded=True, request_handler=Quiet)
    server.endpoint = f"http://127.0.0.1:{listening.server_port}"
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    yield server
    listening.shutdown()
    thread.join()


@pytest.fixture
def s3(s3_server, monkeypatch, tmp_path):
    """The server with an empty bucket ``bucket``, a cache of this test, and clients that try once."""
    import boto3
    import s3fs

    for name, value in {
        "AWS_ENDPOINT_URL": s3_server.endpoint,
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "TICKETDIET_CACHE": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    s3fs.S3FileSystem.clear_instance_cache()
    client = boto3.client("s3")
    client.create_bucket(Bucket="bucket")
    s3_server.asked.clear()
    yield s3_server
    s3_server.faults.clear()
    for page in client.get_paginator("list_objects_v2").paginate(Bucket="bucket"):
        for found in page.get("Contents", ()):
            client.delete_object(Bucket="bucket", Key=found["Key"])
    client.delete_bucket(Bucket="bucket")
    client.close()
