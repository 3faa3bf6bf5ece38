"""Unmodified HTTP clients against the default dialect: `/plain` of the workbench."""

import concurrent.futures
import json
import shutil
import subprocess
import tempfile
import time
import uuid

import httpx
import requests
import urllib3
from azure.core import PipelineClient
from azure.core.polling import LROPoller
from azure.core.polling.base_polling import LROBasePolling, LocationPolling
from azure.core.exceptions import HttpResponseError
from azure.core.rest import HttpRequest

from harness import BASE, main, may_be_read_by_a_page, may_be_sent_by_a_page, test

JOBS = BASE + "/plain/jobs"


def polled(get, location, deadline=20):
    """Follows a monitor as its answers say, until one is not a pending 202."""
    until = time.monotonic() + deadline
    while time.monotonic() < until:
        answer = get(location)
        if "operation-outcome" in answer.headers:
            return answer
        assert answer.status_code == 202, answer.status_code
        assert answer.headers["location"] == location
        time.sleep(int(answer.headers["retry-after"]) / 5)
    raise AssertionError("did not end")


@test
def requests_follows_a_success():
    session = requests.Session()
    accepted = session.post(JOBS, json={"ms": 300, "steps": 3, "echo": "é"})
    assert accepted.status_code == 202
    document = accepted.json()
    assert document["status"] in ("accepted", "running")
    assert document["links"]["monitor"] == accepted.headers["location"]
    done = polled(session.get, accepted.headers["location"])
    assert (done.status_code, done.headers["operation-outcome"]) == (200, "succeeded")
    assert done.json() == {"ok": True, "echo": "é"}
    status = session.get(document["links"]["status"])
    assert status.json()["result"]["status"] == 200
    again = session.get(document["links"]["status"], headers={"If-None-Match": status.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@test
def requests_sees_a_failure_a_panic_and_an_error_as_problems():
    for outcome, status, kind in [
        ("fail", 422, None),
        ("panic", 500, "urn:tower-lro:problem:panicked"),
        ("error", 500, "urn:tower-lro:problem:errored"),
    ]:
        accepted = requests.post(JOBS, data={"ms": "50", "outcome": outcome, "echo": "why"})
        failed = polled(requests.get, accepted.headers["location"])
        assert failed.status_code == status, (outcome, failed.status_code)
        assert failed.headers["content-type"] == "application/problem+json"
        assert failed.headers["operation-outcome"] == "failed"
        problem = failed.json()
        assert problem["status"] == status
        if kind:
            assert problem["type"] == kind
        else:
            assert problem["detail"] == "why"


@test
def requests_cancels_and_forgets():
    accepted = requests.post(JOBS, json={"ms": 60000})
    monitor = accepted.headers["location"]
    assert requests.delete(monitor).json()["status"] == "cancelled"
    assert requests.delete(monitor).status_code == 200
    assert requests.get(monitor).status_code == 410
    assert requests.get(monitor).json()["type"] == "urn:tower-lro:problem:cancelled"
    assert requests.delete(monitor + "/result").status_code == 204
    assert requests.get(monitor).json()["type"] == "urn:tower-lro:problem:expired"
    unknown = BASE + "/plain/status/" + str(uuid.uuid4())
    assert requests.get(unknown).status_code == 404


@test
def requests_repeats_a_key():
    key = {"Idempotency-Key": str(uuid.uuid4())}
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        post = lambda _: requests.post(JOBS, json={"ms": 200, "echo": "once"}, headers=key)
        answers = list(pool.map(post, range(40)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.headers["location"] for answer in answers}) == 1
    other = requests.post(JOBS, json={"ms": 1, "echo": "twice"}, headers=key)
    assert other.status_code == 422


@test
def requests_reads_its_413_in_the_midst_of_an_upload():
    for body in (b"x" * (8 << 20), (b"x" * (64 << 10) for _ in range(128))):
        refused = requests.post(JOBS, data=body, headers={"content-type": "application/json"})
        assert refused.status_code == 413, refused.status_code
        assert refused.json()["type"] == "urn:tower-lro:problem:too-large"


@test
def requests_is_told_at_once_of_a_bad_request():
    for body in ["{", '{"ms":-1}', '{"outcome":"perhaps"}', "[]"]:
        refused = requests.post(JOBS, data=body, headers={"content-type": "application/json"})
        assert refused.status_code == 400, (body, refused.status_code)
        assert refused.headers["content-type"] == "application/problem+json"


@test
def httpx_follows_over_http_1_and_2_with_waits():
    for http2 in (False, True):
        with httpx.Client(http1=not http2, http2=http2, timeout=30) as client:
            accepted = client.post(JOBS, json={"ms": 400, "echo": "h"})
            version = "HTTP/2" if http2 else "HTTP/1.1"
            assert (accepted.status_code, accepted.http_version) == (202, version)
            done = client.get(accepted.headers["location"], headers={"Prefer": "wait=10"})
            assert done.json() == {"ok": True, "echo": "h"}
            assert done.headers["preference-applied"] == "wait=10"
            inline = client.post(JOBS, json={"ms": 50, "echo": "i"}, headers={"Prefer": "wait=10"})
            assert (inline.status_code, inline.json()["echo"]) == (200, "i")
            assert "location" not in inline.headers


@test
def httpx_replays_as_often_as_asked():
    with httpx.Client(timeout=30) as client:
        accepted = client.post(JOBS, json={"ms": 0, "size": 300000})
        first = polled(client.get, accepted.headers["location"])
        assert first.content == bytes(i % 251 for i in range(300000))
        for _ in range(20):
            assert client.get(accepted.headers["location"]).content == first.content
        head = client.head(accepted.headers["location"])
        assert (head.headers["content-length"], head.content) == ("300000", b"")


@test
def urllib3_retries_by_retry_after_until_the_end():
    # urllib3 waits Retry-After out when told that a 202 is to be retried: a poll without a line of polling code.
    retry = urllib3.Retry(total=20, status_forcelist=[202], respect_retry_after_header=True)
    pool = urllib3.PoolManager(retries=retry)
    accepted = pool.request("POST", JOBS, json={"ms": 600, "echo": "u"}, retries=False)
    assert accepted.status == 202
    done = pool.request("GET", accepted.headers["location"])
    assert (done.status, done.json()["echo"]) == (200, "u")


@test
def curl_follows():
    curl = shutil.which("curl")
    assert curl, "curl is not installed"
    call = lambda *words: subprocess.run([curl, "-sS", *words], check=True, capture_output=True, text=True).stdout
    head = call("-D", "-", "-o", "/dev/null", JOBS, "-d", "ms=200&echo=c")
    assert head.startswith("HTTP/1.1 202 ")
    location = [line[10:].strip() for line in head.splitlines() if line.lower().startswith("location: ")][0]
    assert json.loads(call(location, "-H", "Prefer: wait=10"))["echo"] == "c"
    # It offers HTTP/2 by `Upgrade: h2c`, as Java's client does by default, and goes on as it began.
    offered = call("--http2", "-D", "-", "-o", "/dev/null", JOBS, "-d", "ms=200&echo=h", "--next", "-sS", "--http2", BASE)
    assert offered.startswith("HTTP/1.1 202 "), offered
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"x" * (8 << 20))
        file.flush()
        # Over 1 MB curl asks for `100 Continue` first; told not to, it is refused while it sends.
        for expect in ("Expect: 100-continue", "Expect:"):
            code = call("-w", "%{http_code}", "-o", "/dev/null", "-H", expect, "--data-binary", "@" + file.name, JOBS)
            assert code == "413", (expect, code)


@test
def curl_gets_an_answer_to_each_line_of_the_front_page():
    page = requests.get(BASE + "/").text
    lines = [line.split("   # ")[0].rstrip() for line in page.splitlines() if line.startswith("curl ")]
    for prefix in ("/plain/", "/azure/", "/sameurl/", "/spa/", "/todos", "/two/", "/xop/"):
        of_prefix = [line for line in lines if BASE + prefix in line]
        assert of_prefix, page
        # Every dialect shows what there is, whoever accepted it.
        accepted = requests.post(JOBS, data="ms=0")
        known = accepted.json()["id"]
        polled(requests.get, accepted.headers["location"])
        for line in of_prefix:
            line = line.replace("/ID", "/" + known).replace("/NAME", "/" + known)
            read = ["bash", "-c", line + " -sS -o /dev/null -w '%{http_code}'"]
            status = int(subprocess.run(read, check=True, capture_output=True, text=True).stdout)
            # The thing may not be there yet, and what has ended is not ended again.
            excused = (status == 404 and ("/things/" in line or "/todos/" + known in line)) or (
                status == 409 and "/complete/" in line)
            assert status in (200, 201, 202, 204, 302) or excused, (line, status)


class ByLocation(LROBasePolling):
    """azure-core's polling by `Location`, nothing else."""

    def __init__(self):
        super().__init__(timeout=0.2, lro_algorithms=[LocationPolling()])


def azure(body):
    client = PipelineClient(BASE)
    request = HttpRequest("POST", JOBS, json=body)
    first = client._pipeline.run(request, stream=False)
    assert first.http_response.status_code == 202
    return LROPoller(client, first, lambda response: response.http_response.json(), ByLocation())


@test
def azure_core_polls_by_location():
    assert azure({"ms": 300, "echo": "a"}).result(30) == {"ok": True, "echo": "a"}


@test
def azure_core_reports_a_failure():
    try:
        azure({"ms": 300, "outcome": "fail", "echo": "bad"}).result(30)
    except HttpResponseError as error:
        assert error.status_code == 422, error.status_code
    else:
        raise AssertionError("it reported success")


@test
def azure_core_resumes_from_a_token():
    poller = azure({"ms": 500, "echo": "t"})
    token = poller.continuation_token()
    client = PipelineClient(BASE)
    again = LROPoller.from_continuation_token(
        polling_method=ByLocation(), continuation_token=token, client=client,
        deserialization_callback=lambda response: response.http_response.json())
    assert again.result(30)["echo"] == "t"


@test
def a_browser_may_read_what_it_needs():
    origin = {"Origin": "https://example.com"}
    may_be_sent_by_a_page(JOBS, "POST", "prefer", "idempotency-key", "content-type")
    accepted = requests.post(JOBS, json={"ms": 10}, headers=origin)
    unknown = requests.get(BASE + "/plain/status/" + str(uuid.uuid4()), headers=origin)
    for answer in (accepted, requests.get(accepted.headers["location"], headers=origin), unknown):
        may_be_read_by_a_page(answer, "location", "operation-outcome")


main()
