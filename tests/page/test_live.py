import http.client
import shutil
import threading

import pytest

from ticketdiet.core.errors import UserError
from ticketdiet.page.live import LiveReport, make_server
from ticketdiet.reports.loading import load_study
from ticketdiet.reports.verdict import Verdict
from ticketdiet.store.layout import result_path


@pytest.fixture(scope="module")
def copy(studied, tmp_path_factory):
    """The study with a store of its own, which tests may change."""
    url = tmp_path_factory.mktemp("live") / "store"
    shutil.copytree(studied.url, url)
    return load_study("tiny", store=url)


@pytest.fixture(scope="module")
def report(copy):
    return LiveReport([copy])


@pytest.fixture(scope="module")
def server(report):
    """A server that answers in a thread of its own."""
    with make_server(report) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def ask(server, path, host=None):
    """Status, headers and text of an answer."""
    port = server.server_address[1]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path, headers={"Host": host or f"127.0.0.1:{port}"})
    answer = connection.getresponse()
    found = answer.status, answer.headers, answer.read().decode()
    connection.close()
    return found


def test_the_server_listens_to_this_machine_alone(server):
    assert server.server_address[0] == "127.0.0.1"


def test_the_page_is_served_and_may_ask_its_server(server):
    status, headers, text = ask(server, "/")
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Cache-Control"] == "no-store"
    assert "connect-src &#39;self&#39;" in text
    assert "What came out" in text


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1", "127.0.0.1:1", "localhost.evil:80"])
@pytest.mark.parametrize("path", ["/", "/version"])
def test_a_request_that_names_another_host_gets_nothing(server, host, path):
    status, _, text = ask(server, path, host)
    assert status == 421
    assert text == "This server answers to 127.0.0.1 alone.\n"


def test_localhost_is_this_machine(server):
    assert ask(server, "/version", f"localhost:{server.server_address[1]}")[0] == 200


@pytest.mark.parametrize("path", ["/../../etc/passwd", "/index", "/%2e%2e"])
def test_there_is_nothing_else(server, path):
    assert ask(server, path)[0] == 404


def test_the_version_changes_with_the_store_and_the_page_is_made_again(server, copy, report):
    before, page = ask(server, "/version")[2], report.page()
    assert report.page() is page
    address = list(copy.plan.stages)[-1]
    shutil.rmtree(f"{copy.url}/{result_path(address)}")
    assert ask(server, "/version")[2] != before
    assert "1 of " in ask(server, "/")[2]
    assert report.page() != page


def test_a_port_that_is_taken_is_refused_with_the_way_out(server, report):
    with pytest.raises(UserError, match="choose another one with --port"):
        make_server(report, server.server_address[1])


def test_the_page_in_a_browser_asks_for_the_version(server, browser):
    browser.errors.clear()
    browser.resize(1280, 900)
    browser.open(f"http://127.0.0.1:{server.server_address[1]}/")
    answer = browser.run("fetch('version').then((answer) => answer.text())")
    assert answer == server.report.version()
    assert not browser.errors


def test_verdicts_are_given_on_the_results_as_they_are_now(copy):
    seen = []

    def judge(found):
        seen.append(len(found.state.sound))
        return [Verdict("C1", "Tickets <are> found.", "A rule.", "undecided", (), "Nothing is known.", found.name)]

    page = LiveReport([copy], judge=judge).page()
    assert "Tickets &lt;are&gt; found." in page
    assert seen == [len(copy.results().state.sound)]
