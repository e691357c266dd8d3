"""The page of a study that is still running, served to this machine alone and made again when the store has changed.

The server listens on 127.0.0.1, and answers only requests that name this machine as their host: a website that makes
its own name point to 127.0.0.1 would otherwise read the page through the browser of whoever visits it (DNS rebinding).
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ticketdiet.core.errors import TicketDietError, UserError
from ticketdiet.page.report import Judge, no_verdicts, report_page
from ticketdiet.reports.study import Study

HOST = "127.0.0.1"
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


class LiveReport:
    """The page as the store has it now; several requests at once make it once.

    Args:
        studies: What the page is about.
        baseline: Arm that the others are compared with; default the first.
        judge: Gives the verdicts on claims that a study covers, on its results as they are now.
    """

    def __init__(
        self,
        studies: Sequence[Study],
        *,
        baseline: str | None = None,
        judge: Judge = no_verdicts,
    ) -> None:
        self._studies, self._baseline, self._judge = tuple(studies), baseline, judge
        self._lock = threading.Lock()
        self._plans: dict[str, tuple[list[tuple[str, str]], frozenset[str]]] = {}  # records and stages of each study
        self._made: tuple[str, str] | None = None  # version and page

    def version(self) -> str:
        """Return what changes when a result of the studies appears or goes."""
        digest = hashlib.sha256()
        for study in self._studies:
            stages = self._stages(study)
            here = stages.intersection(study.store.addresses())
            digest.update("".join([*sorted(stages), "here", *sorted(here)]).encode())
        return digest.hexdigest()[:16]

    def _stages(self, study: Study) -> frozenset[str]:
        """Addresses of the stages of a study; its plan is read again only when the store has another record."""
        records = study.store.records.list()
        known = self._plans.get(study.name)
        if known is None or known[0] != records:
            known = self._plans[study.name] = records, frozenset(study.plan.stages)
        return known[1]

    def page(self) -> str:
        """Return the page, made again if the store has changed.

        Raises:
            TicketDietError: When the store cannot be read.
        """
        with self._lock:
            version = self.version()
            if self._made is None or self._made[0] != version:
                page = report_page(self._studies, baseline=self._baseline, judge=self._judge, live=True)
                self._made = version, page
            return self._made[1]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, report: LiveReport, port: int) -> None:
        self.report = report
        super().__init__((HOST, port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        """Answer with the page, or with the version of the store."""
        port = self.server.server_address[1]
        if self.headers.get("Host") not in (f"{HOST}:{port}", f"localhost:{port}"):
            self._answer(HTTPStatus.MISDIRECTED_REQUEST, "This server answers to 127.0.0.1 alone.\n")
            return
        answers = {"/": self.server.report.page, "/version": self.server.report.version}
        make = answers.get(self.path.partition("?")[0])
        if make is None:
            self._answer(HTTPStatus.NOT_FOUND, "There is no such page. The report is at /.\n")
            return
        try:
            self._answer(HTTPStatus.OK, make(), "html" if make == self.server.report.page else "plain")
        except TicketDietError as error:
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, f"{error}\n")

    def _answer(self, status: HTTPStatus, text: str, kind: str = "plain") -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", f"text/{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        with contextlib.suppress(ConnectionError):  # whoever asked has gone
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep silent: the terminal says where the page is, and no more."""

    def version_string(self) -> str:
        """Name the server without versions."""
        return "ticketdiet"


def make_server(report: LiveReport, port: int = 0) -> ThreadingHTTPServer:
    """Return a server of the page on 127.0.0.1, which is listening; ``serve_forever`` answers.

    Args:
        report: What it serves.
        port: Where; 0 for any free one.

    Raises:
        UserError: When the port cannot be had.
    """
    try:
        return _Server(report, port)
    except (OSError, OverflowError) as error:
        raise UserError(
            f"The port {port} of {HOST} cannot be had: {getattr(error, 'strerror', None) or error}.",
            expected="a port that is free",
            way_out="choose another one with --port, or leave --port out",
        ) from None
