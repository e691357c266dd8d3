"""A store on a real S3 server: what is shared, and what a server or the way to it can do wrong."""

import errno
import socket
import threading
from typing import Any

import pytest

from ticketdiet.core.addresses import address_of
from ticketdiet.core.errors import DamagedResult, NoStore, StoreError, UserError
from ticketdiet.store.bucket import Bucket
from ticketdiet.store.drivers import Driver
from ticketdiet.store.encoding import pack_document
from ticketdiet.store.presence import EXPIRES_AFTER
from ticketdiet.store.remote import TRIES, TRIES_AT_FIRST
from ticketdiet.store.results import ResultStore

URL = "s3://bucket/some/store"
SLOW_DOWN = ("503 Slow Down", "SlowDown")


def identity(number=0) -> dict[str, Any]:
    return {"kind": "level", "version": 1, "spec": {"number": number}, "inputs": {}}


def put(store, number=0):
    address = address_of(**identity(number))
    store.write(address, **identity(number), documents={"rows": [number], "facts": {"density": 0.5}})
    return address


def patient(url=URL):
    """A place that waits for nothing, and the seconds it would have waited."""
    import fsspec

    pauses: list[float] = []
    filesystem, root = fsspec.core.url_to_fs(url)
    return Bucket(url, filesystem, root, pauses.append), pauses


def times(number, answer, when=lambda method, path, query: True):
    """A fault that spoils the first ``number`` requests for which ``when`` is true."""
    left = [number]

    def fault(method, path, query):
        if left[0] and when(method, path, query):
            left[0] -= 1
            return answer
        return None

    return fault


def is_put_of(part):
    return lambda method, path, query: method == "PUT" and part in path


class TestASharedStore:
    def test_results_are_written_read_listed_and_removed(self, s3):
        address = put(ResultStore.open(URL), 7)
        store = ResultStore.open(URL, create=False)
        assert store.document(address, "rows") == [7]
        assert store.addresses() == [address]
        assert store.resolve(address[:4]) == address
        assert store.verify() == []
        assert store.collect(()).addresses == (address,)
        store.collect((), dry_run=False)
        assert not store.has(address)
        assert ResultStore.open(URL).addresses() == []

    def test_of_many_who_want_a_lease_exactly_one_gets_it(self, s3):
        ResultStore.open(URL)
        places = [patient()[0] for _ in range(8)]
        got: list[bool] = []
        begin = threading.Barrier(len(places))

        def take(number, place):
            place.create("leases/other.0", b"")  # so that each has asked the server what it can
            begin.wait()
            got.append(place.create("leases/x.0", f"{number}".encode()))

        threads = [threading.Thread(target=take, args=one) for one in enumerate(places)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(got) == [False] * 7 + [True]

    def test_of_two_writers_of_a_result_the_first_one_stays(self, s3):
        place, _ = patient()
        assert place.publish("results/01/x", {}, lambda records: b"first")
        seal_late = lambda records: place.replace("results/02/x/manifest.json", b"first") or b"second"  # noqa: E731
        assert not place.publish("results/02/x", {}, seal_late)
        assert place.read("results/02/x/manifest.json") == b"first"

    def test_a_server_without_conditional_writes_is_used_with_less_certainty(self, s3, monkeypatch):
        place, _ = patient()
        plain = type(place._files).pipe_file

        def without(path, data, mode="overwrite"):
            if mode == "create":
                raise OSError(errno.ENOSYS, "A header you provided implies functionality that is not implemented")
            return plain(place._files, path, data)

        monkeypatch.setattr(place._files, "pipe_file", without)
        assert place.create("leases/x.0", b"one")
        assert not place.create("leases/x.0", b"two")
        assert place.read("leases/x.0") == b"one"

    def test_the_age_of_a_heartbeat_is_that_of_the_servers_clock(self, s3, monkeypatch):
        ResultStore.open(URL)
        place, _ = patient()
        with Driver(place) as one:
            assert one.take("0" * 24)
            # The other machine's clock is a day ahead; what this one's process does is not known to it.
            monkeypatch.setattr("ticketdiet.store.drivers.time.time", lambda: 1e9)
            monkeypatch.setattr("ticketdiet.store.presence._machine", lambda: "another machine")
            with Driver(patient()[0]) as other:
                assert not other.take("0" * 24)
                monotonic = other._clock
                other._clock = lambda: monotonic() + EXPIRES_AFTER + 5.0
                assert other.take("0" * 24)


class TestFaultsThatPass:
    @pytest.mark.parametrize("answer", ["lost", SLOW_DOWN, ("500 Internal Server Error", "InternalError")])
    def test_what_failed_is_tried_again_after_longer_and_longer_pauses(self, s3, answer):
        address = put(ResultStore.open(URL))
        place, pauses = patient()
        store = ResultStore(place)
        assert store.has(address)
        s3.faults.append(times(3, answer))
        assert store.has(address)
        assert 0 < len(pauses) <= 3  # aiohttp itself asks again where a connection ended
        assert pauses == [0.5, 1.0, 2.0][: len(pauses)]

    @pytest.mark.parametrize("part", ["rows.json", "manifest.json"])
    @pytest.mark.parametrize("answer", ["lost", SLOW_DOWN])
    def test_a_result_is_written_whole_in_spite_of_them(self, s3, part, answer):
        store = ResultStore(patient()[0])
        s3.faults.append(times(2, answer, is_put_of(part)))
        assert ResultStore.open(URL).inspect(put(store)).state == "done"

    def test_a_lease_whose_answer_was_lost_is_held(self, s3):
        place, _ = patient()
        assert place.create("leases/other.0", b"")
        answers = iter([True])

        def lose_the_answer(method, path, query):
            if method == "PUT" and next(answers, False):
                place._files.pipe_file("bucket/some/store/leases/x.0", b"me")  # it came through, its answer did not
                return s3.LOST
            return None

        s3.faults.append(lose_the_answer)
        assert place.create("leases/x.0", b"me")
        assert not place.create("leases/x.0", b"you")

    def test_reading_many_tries_only_those_again_that_failed(self, s3):
        store = ResultStore.open(URL)
        addresses = [put(store, number) for number in range(20)]
        place, pauses = patient()
        place.children("results")
        s3.asked.clear()
        s3.faults.append(times(5, SLOW_DOWN, lambda method, path, query: path.endswith("manifest.json")))
        assert {status.state for status in ResultStore(place).statuses(addresses).values()} == {"done"}
        assert pauses == [0.5]
        assert s3.asked["GET object"] <= 25

    def test_a_listing_that_takes_too_long_is_asked_for_again(self, s3, monkeypatch):
        monkeypatch.setattr("s3fs.S3FileSystem.read_timeout", 2)
        address = put(ResultStore.open(URL))
        place, pauses = patient()
        assert ResultStore(place).has(address)
        ended, stuck = threading.Event(), times(1, True, lambda method, path, query: "list-type" in query)

        def hang(method, path, query):
            if stuck(method, path, query):
                ended.wait()
            return

        s3.faults.append(hang)
        try:
            assert ResultStore(place).addresses() == [address]
        finally:
            ended.set()
        assert pauses[:1] == [0.5]

    def test_a_fault_that_stays_ends_with_a_message_after_a_bounded_time(self, s3):
        address = put(ResultStore.open(URL))
        place, pauses = patient()
        store = ResultStore(place)
        assert store.has(address)
        s3.faults.append(lambda method, path, query: SLOW_DOWN)
        with pytest.raises(StoreError, match=r"Cannot check result(.|\n)*connection, and run again"):
            store.has(address)
        assert len(pauses) == TRIES - 1
        assert sum(pauses) < 30
        s3.faults.clear()
        assert store.has(address)


def test_a_server_out_of_reach_is_never_taken_for_damage_or_absence(s3, monkeypatch, tmp_path):
    store = ResultStore(patient()[0])
    address = put(store)
    store.records.write("tiny", "0" * 16, {})
    monkeypatch.setenv("TICKETDIET_CACHE", str(tmp_path / "another machine"))
    store = ResultStore(patient()[0])
    sound = store.manifest(address).files["rows.json"].path
    s3.faults.append(lambda method, path, query: SLOW_DOWN if sound in path or "studies" in path else None)
    assert store.has(address)
    for ask in (
        lambda: store.inspect(address),
        lambda: store.document(address, "rows"),
        lambda: store.records.read("tiny", "0" * 16),
    ):
        with pytest.raises(StoreError, match="SlowDown") as raised:
            ask()
        assert not isinstance(raised.value, DamagedResult)


class TestUploadsThatEndHalfWay:
    def test_files_without_a_manifest_are_no_result_and_are_written_again(self, s3):
        place, _ = patient()
        store = ResultStore(place)
        s3.faults.append(
            lambda method, path, query: s3.LOST if is_put_of("manifest.json")(method, path, query) else None
        )
        with pytest.raises(StoreError, match="Cannot write result"):
            put(store)
        s3.faults.clear()
        address = address_of(**identity())
        assert store.check(address).state == "missing"
        assert store.statuses([address])[address].state == "missing"
        put(store)
        assert store.inspect(address).state == "done"

    def test_no_space_or_quota_on_the_server_is_named_and_leaves_nothing(self, s3):
        store = ResultStore.open(URL)
        s3.faults.append(
            lambda method, path, query: ("507", "QuotaExceeded") if is_put_of("results")(method, path, query) else None
        )
        with pytest.raises(StoreError, match=r"Cannot write result(.|\n)*QuotaExceeded"):
            put(store)
        s3.faults.clear()
        assert store.addresses() == []


class TestListingsThatAreLate:
    def test_a_result_that_is_not_listed_yet_is_found_when_it_is_asked_for(self, s3):
        store = ResultStore.open(URL)
        address = put(store)
        s3.faults.append(lambda method, path, query: ("404 Not Found", "NoSuchKey") if "list-type" in query else None)
        assert store.check(address).state == "done"
        assert store.statuses([address])[address].state == "missing"  # so a run looks at it again before it works

    def test_a_result_that_is_not_listed_yet_is_not_written_twice(self, s3):
        store = ResultStore.open(URL)
        address = put(store)
        before = store.manifest(address)
        s3.faults.append(lambda method, path, query: ("404 Not Found", "NoSuchKey") if "list-type" in query else None)
        put(store)
        s3.faults.clear()
        assert ResultStore.open(URL).manifest(address) == before


class TestMistakes:
    def test_a_bucket_that_does_not_exist_is_not_made(self, s3):
        with pytest.raises(NoStore, match="There is no store at s3://nobody-made-this/x"):
            ResultStore.open("s3://nobody-made-this/x", create=False)
        with pytest.raises(UserError, match=r"bucket does not exist(.|\n)*make the bucket first"):
            ResultStore.open("s3://nobody-made-this/x")

    @pytest.mark.parametrize(
        "code", ["AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed"]
    )
    def test_credentials_that_are_refused_are_the_users_mistake(self, s3, code):
        s3.faults.append(lambda method, path, query: ("403 Forbidden", code))
        with pytest.raises(UserError, match=rf"refuses to open the store: {code}(.|\n)*AWS_PROFILE"):
            ResultStore.open(URL)

    def test_a_bucket_that_may_only_be_read_is_read_but_not_written(self, s3):
        address = put(ResultStore.open(URL))
        s3.faults.append(lambda method, path, query: ("403 Forbidden", "AccessDenied") if method == "PUT" else None)
        assert ResultStore.open(URL, create=False).document(address, "rows") == [0]
        with pytest.raises(UserError, match=r"refuses to write(.|\n)*list, read, write"):
            ResultStore.open(URL)

    def test_no_credentials_are_the_users_mistake(self, s3, monkeypatch, tmp_path):
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        with pytest.raises(UserError, match=r"Unable to locate credentials(.|\n)*AWS_PROFILE"):
            ResultStore.open(URL)

    def test_a_server_that_is_not_there_is_given_up_soon(self, s3, monkeypatch):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unused.getsockname()[1]}")
        place, pauses = patient()
        with pytest.raises(StoreError, match=r"Could not connect to the endpoint(.|\n)*connection"):
            ResultStore(place).has("0" * 24)
        assert len(pauses) == TRIES_AT_FIRST - 1


class TestFewRequests:
    COUNT = 24

    @pytest.fixture
    def filled(self, s3):
        store = ResultStore.open(URL)
        addresses = [put(store, number) for number in range(self.COUNT)]
        s3.asked.clear()
        return addresses

    def read_all(self, addresses):
        store = ResultStore.open(URL, create=False)
        assert {status.state for status in store.statuses(addresses).values()} == {"done"}
        store.fetch(addresses)
        assert [store.document(address, "rows") for address in addresses] == [[n] for n in range(self.COUNT)]
        assert {store.document(address, "facts")["density"] for address in addresses} == {0.5}
        assert {store.manifest(address).kind for address in addresses} == {"level"}

    def test_a_summary_answers_for_all_results_at_once(self, s3, filled, monkeypatch, tmp_path):
        ResultStore.open(URL, create=False).summarise("tiny", "0" * 16, filled)
        monkeypatch.setenv("TICKETDIET_CACHE", str(tmp_path / "another machine"))
        s3.asked.clear()
        self.read_all(filled)
        assert s3.asked.total() <= 16 + 4

    def test_what_is_on_this_machine_is_not_asked_for_again(self, s3, filled):
        self.read_all(filled)
        s3.asked.clear()
        self.read_all(filled)
        assert s3.asked.total() <= 16 + 4

    def test_without_a_folder_for_copies_nothing_is_written_and_no_file_is_read_twice(
        self, s3, filled, monkeypatch, tmp_path
    ):
        monkeypatch.setenv("TICKETDIET_STORE_CACHE_GB", "0")
        monkeypatch.setenv("TICKETDIET_CACHE", str(tmp_path / "none"))
        self.read_all(filled)
        assert s3.asked["GET object"] <= 3 * self.COUNT + 4
        assert not (tmp_path / "none").exists()

    def test_a_summary_of_results_that_were_made_again_is_not_believed(self, s3, filled):
        store = ResultStore.open(URL)
        store.summarise("tiny", "0" * 16, filled)
        store.discard(filled[0])
        assert ResultStore.open(URL, create=False).statuses(filled)[filled[0]].state == "missing"
        store.write(filled[0], **identity(0), documents={"rows": ["another"], "facts": {}})
        again = ResultStore.open(URL, create=False)
        assert again.statuses(filled)[filled[0]].state == "done"
        assert again.document(filled[0], "rows") == ["another"]

    def test_a_damaged_summary_costs_requests_and_nothing_else(self, s3, filled):
        place, _ = patient()
        for content in (b"", b"no gzip", pack_document({"format": 1, "contents": {"../x": "", "0" * 64: "x"}})):
            place.replace(f"summaries/tiny.{'0' * 16}.json.gz", content)
            self.read_all(filled)

    def test_damage_in_the_store_is_found_although_there_are_sound_copies(self, s3, filled):
        self.read_all(filled)
        place, _ = patient()
        store = ResultStore(place)
        (name,) = [name for name in place.stats(f"results/{filled[0][:2]}/{filled[0]}") if "rows" in name]
        place.replace(f"results/{filled[0][:2]}/{filled[0]}/{name}", b"[\n 9\n]")
        assert store.inspect(filled[0]).reason == "rows.json does not match its checksum"
        place.replace(f"results/{filled[0][:2]}/{filled[0]}/{name}", b"[123]")
        assert store.statuses(filled)[filled[0]].reason.startswith("rows.json has 5 bytes")

    def test_all_of_many_results_are_listed_with_few_requests(self, s3, filled):
        assert ResultStore.open(URL, create=False).addresses() == sorted(filled)
        assert s3.asked.total() <= 16 + 2
