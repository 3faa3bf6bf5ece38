"""Caching HTTP clients against the dialect `SameUrl`: `/sameurl/report` of the workbench."""

import concurrent.futures
import pathlib
import subprocess
import tempfile
import time
import uuid

import cachecontrol
import hishel
import hishel.httpx
import requests

from harness import BASE, main, may_be_read_by_a_page, may_be_sent_by_a_page, test


def report(**fields):
    """A report that nobody has asked for yet."""
    fields = {"ms": 2000, "echo": "r", "run": uuid.uuid4()} | fields
    return BASE + "/sameurl/report?" + "&".join(f"{name}={value}" for name, value in fields.items())


def polled(get, deadline=20):
    """The first answer that is not that of a pending report, and the tags and bodies of those that were."""
    pending = []
    until = time.monotonic() + deadline
    while time.monotonic() < until:
        answer = get()
        if answer.status_code not in (202, 304):
            return answer, pending
        pending.append(answer)
        assert "no-store" in answer.headers["cache-control"], answer.headers
        # A fifth of it, so that a report is seen pending more than once.
        time.sleep(int(answer.headers.get("retry-after", 1)) / 5)
    raise AssertionError("did not end")


@test
def cachecontrol_joins_then_revalidates():
    url = report(echo="%C3%A9")
    session = cachecontrol.CacheControl(requests.Session())
    done, pending = polled(lambda: session.get(url))
    assert (done.status_code, done.json(), done.from_cache) == (200, {"ok": True, "echo": "é"}, False)
    assert len(pending) > 1 and all(answer.status_code == 202 for answer in pending)
    # One operation, and nothing of it was kept.
    assert len({answer.headers["etag"] for answer in pending}) == 1
    assert not any(answer.from_cache for answer in pending)
    assert done.headers["etag"] != pending[0].headers["etag"]
    for _ in range(3):
        again = session.get(url)
        # Asked for each time, told 304, and served from what it has.
        assert (again.status_code, again.from_cache, again.json()) == (200, True, done.json())
        assert again.headers["etag"] == done.headers["etag"]
    # Another cache gets the same.
    other = cachecontrol.CacheControl(requests.Session()).get(url)
    assert (other.from_cache, other.headers["etag"]) == (False, done.headers["etag"])


@test
def cachecontrol_sees_a_failure_once_and_then_a_fresh_run():
    url = report(outcome="fail", echo="why")
    session = cachecontrol.CacheControl(requests.Session())
    tags = set()
    for _ in range(2):
        failed, pending = polled(lambda: session.get(url))
        assert (failed.status_code, failed.json()["detail"]) == (422, "why")
        assert "etag" not in failed.headers and failed.headers["cache-control"] == "no-store"
        tags |= {answer.headers["etag"] for answer in pending}
    assert len(tags) == 2, tags


@test
def hishel_joins_then_revalidates():
    with tempfile.TemporaryDirectory() as folder:
        storage = hishel.SqliteStorage(database_path=f"{folder}/cache.db")
        with hishel.httpx.CacheClient(storage=storage, rfc=True) as client:
            url = report()
            done, pending = polled(lambda: client.get(url))
            assert (done.status_code, done.json()) == (200, {"ok": True, "echo": "r"})
            assert len(pending) > 1 and len({answer.headers["etag"] for answer in pending}) == 1
            for answer in pending:
                caching = answer.extensions["caching"]
                assert answer.status_code == 202 and not caching["stored"] and not caching["from_cache"], caching
            assert done.extensions["caching"]["stored"]
            for _ in range(3):
                again = client.get(url)
                assert again.json() == done.json()
                caching = again.extensions["caching"]
                assert caching["from_cache"] and caching["revalidated"], caching


@test
def hishel_keeps_no_failure():
    with tempfile.TemporaryDirectory() as folder:
        storage = hishel.SqliteStorage(database_path=f"{folder}/cache.db")
        with hishel.httpx.CacheClient(storage=storage, rfc=True) as client:
            url = report(outcome="panic")
            for _ in range(2):
                failed, pending = polled(lambda: client.get(url))
                assert failed.status_code == 500 and pending
                assert failed.json()["type"] == "urn:tower-lro:problem:panicked"
                assert not failed.extensions["caching"]["stored"]


class Curl:
    """curl, with the entity tag of what it has in a file."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.body = self.folder / "body"

    def get(self, url):
        """The status; the tag is saved, and compared with, in curl's own way."""
        tag = self.folder / "tag"
        words = ["--etag-save", tag, "-o", self.body, "-w", "%{http_code}", url]
        if tag.exists():
            words = ["--etag-compare", tag, *words]
        return int(subprocess.run(["curl", "-sS", *words], check=True, capture_output=True, text=True).stdout)

    def polled(self, url, deadline=20):
        """All statuses until the first that is not 304, which it is."""
        seen = [self.get(url)]
        until = time.monotonic() + deadline
        while time.monotonic() < until:
            time.sleep(0.1)
            seen.append(self.get(url))
            if seen[-1] not in (202, 304):
                return seen
        raise AssertionError(seen)


@test
def curl_polls_by_its_saved_tag():
    with tempfile.TemporaryDirectory() as folder:
        curl, url = Curl(folder), report(size=1000)
        seen = curl.polled(url)
        assert len(seen) > 3, seen
        # 202 with the tag, 304 to that while it is pending, then the report.
        assert seen == [202] + [304] * (len(seen) - 2) + [200], seen
        whole = bytes(i % 251 for i in range(1000))
        assert curl.body.read_bytes() == whole
        assert [curl.get(url) for _ in range(3)] == [304] * 3
        assert curl.body.read_bytes() == whole


@test
def curl_sees_a_failure_and_then_a_fresh_run():
    with tempfile.TemporaryDirectory() as folder:
        curl, url = Curl(folder), report(outcome="fail")
        seen = curl.polled(url)
        assert (seen[0], set(seen[1:-1]), seen[-1]) == (202, {304}, 422), seen
        # The tag of the run that has failed, if curl has kept it, is none of the next's.
        assert curl.get(url) == 202


@test
def who_knows_the_tag_is_told_304_while_it_runs():
    url = report()
    first = requests.get(url)
    assert (first.status_code, first.json()["status"]) in [(202, "accepted"), (202, "running")]
    known = {"If-None-Match": first.headers["etag"]}
    done, pending = polled(lambda: requests.get(url, headers=known))
    assert pending and all((answer.status_code, answer.content) == (304, b"") for answer in pending)
    assert {answer.headers["etag"] for answer in pending} == {first.headers["etag"]}
    assert (done.status_code, done.json()["echo"]) == (200, "r")
    assert requests.get(url, headers={"If-None-Match": done.headers["etag"]}).status_code == 304
    # Its old tag, which may still be asked with, does not stand for the result.
    assert requests.get(url, headers=known).status_code == 200


@test
def many_that_ask_at_once_join_one_run():
    url = report(ms=5000)
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: requests.get(url), range(40)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.headers["etag"] for answer in answers}) == 1
    done, _ = polled(lambda: requests.get(url))
    assert done.status_code == 200


@test
def a_browser_may_read_what_it_needs():
    url = report()
    origin = {"Origin": "https://example.com"}
    may_be_sent_by_a_page(url, "GET", "if-none-match")
    first = requests.get(url, headers=origin)
    pending = requests.get(url, headers=origin | {"If-None-Match": first.headers["etag"]})
    done, _ = polled(lambda: requests.get(url, headers=origin))
    same = requests.get(url, headers=origin | {"If-None-Match": done.headers["etag"]})
    assert [answer.status_code for answer in (first, pending, done, same)] == [202, 304, 200, 304]
    for answer in (first, pending, done, same):
        may_be_read_by_a_page(answer, "etag", "retry-after")


main()
