"""Unmodified clients against the workbench: of HTTP for the default dialect, of OData and FHIR for theirs. Prints one line per test; exits 1 if any fails."""

import concurrent.futures
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import uuid

import httpx
import requests
import urllib3
from azure.core import PipelineClient
from azure.core.polling import LROPoller
from azure.core.polling.base_polling import LROBasePolling, LocationPolling
from azure.core.exceptions import HttpResponseError
from azure.core.rest import HttpRequest
from odatapy.client import AsyncOperation, HttpxTransport, ODataClient
from odatapy.client.batch import parse_http_response

BASE = sys.argv[1].rstrip("/")
JOBS = BASE + "/plain/jobs"
TESTS = []


def test(function):
    TESTS.append(function)
    return function


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
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"x" * (8 << 20))
        file.flush()
        # Over 1 MB curl asks for `100 Continue` first; told not to, it is refused while it sends.
        for expect in ("Expect: 100-continue", "Expect:"):
            code = call("-w", "%{http_code}", "-o", "/dev/null", "-H", expect, "--data-binary", "@" + file.name, JOBS)
            assert code == "413", (expect, code)


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
    preflight = requests.options(JOBS, headers=origin | {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "prefer,idempotency-key,content-type"})
    assert preflight.ok, preflight.status_code
    allowed = preflight.headers["access-control-allow-headers"].lower()
    assert all(name in allowed for name in ("prefer", "idempotency-key", "content-type")), allowed
    accepted = requests.post(JOBS, json={"ms": 10}, headers=origin)
    unknown = requests.get(BASE + "/plain/status/" + str(uuid.uuid4()), headers=origin)
    for answer in (accepted, requests.get(accepted.headers["location"], headers=origin), unknown):
        assert answer.headers["access-control-allow-origin"] == "https://example.com", answer.headers
        assert answer.headers["access-control-allow-credentials"] == "true"
        exposed = answer.headers["access-control-expose-headers"].lower()
        assert "location" in exposed and "operation-outcome" in exposed


def odata_client(**options):
    return ODataClient(BASE + "/odata/", HttpxTransport(), **options)


def odata(body, **options):
    client = odata_client(**options)
    return client.execute_async("POST", client.service_root + "/Jobs", json.dumps(body).encode(), "application/json")


@test
def odatapy_follows_a_success():
    for version in ("4.01", "4.0"):
        operation = odata({"ms": 300, "echo": "o"}, odata_version=version)
        assert operation.accepted_response.get_header("Preference-Applied") == "respond-async"
        assert operation.poll() is None
        result = operation.result()
        assert (result.status_code, json.loads(result.content)) == (200, {"ok": True, "echo": "o"})
        assert result.get_header("AsyncResult") == "200"


@test
def odatapy_sees_a_failure_in_both_forms():
    operation = odata({"ms": 10, "outcome": "fail", "echo": "why"})
    result = operation.result()
    assert (result.status_code, result.get_header("AsyncResult")) == (200, "422")
    assert json.loads(result.content)["error"]["message"] == "why"
    enveloped = requests.get(operation.monitor_url, headers={"Accept": "application/http"})
    assert enveloped.headers["content-type"] == "application/http"
    message = parse_http_response(enveloped.content)
    assert (message.status_code, message.content) == (422, result.content)


@test
def odatapy_cancels():
    operation = odata({"ms": 60000})
    assert operation.cancel().status_code == 204
    gone = requests.get(operation.monitor_url)
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "OperationNotFound")


@test
def odatapy_resumes_from_a_url():
    operation = odata({"ms": 500, "echo": "r"})
    again = AsyncOperation(odata_client())
    again.monitor_url = operation.monitor_url
    assert json.loads(again.result().content)["echo"] == "r"


@test
def odata_is_not_deferred_unasked():
    answer = requests.post(BASE + "/odata/Jobs", json={"ms": 10, "echo": "s"})
    assert (answer.status_code, answer.json()["echo"]) == (200, "s")


FHIR = BASE + "/fhir"


def smart_fetch(folder, *words):
    command = os.path.join(os.path.dirname(sys.executable), "smart-fetch")
    flags = ["--fhir-url", FHIR, "--type", "Patient,Observation", "--no-default-filters", "--no-compression"]
    return subprocess.Popen([command, "bulk", *flags, *words, folder],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def ended(process):
    output, _ = process.communicate(timeout=60)
    return process.returncode, output


def interrupted(folder):
    """A slow export that its client has been killed in the midst of; where it is polled."""
    process = smart_fetch(folder, "--group", "slow")
    until = time.monotonic() + 30
    location = None
    while location is None:
        assert time.monotonic() < until and process.poll() is None, "did not begin"
        time.sleep(0.05)
        try:
            with open(os.path.join(folder, ".metadata")) as file:
                texts = [value for value in json.load(file).values() if isinstance(value, str)]
        except (OSError, ValueError):
            continue
        location = next((text for text in texts if "/fhir/bulk/" in text), None)
    process.kill()
    process.communicate()
    return location


def is_gone(location):
    answer = requests.get(location, headers={"Accept": "application/json"})
    assert answer.status_code == 404, answer.status_code
    assert answer.headers["content-type"] == "application/fhir+json"
    assert answer.json()["resourceType"] == "OperationOutcome"


@test
def smart_fetch_exports_all_there_is():
    with tempfile.TemporaryDirectory() as folder:
        code, output = ended(smart_fetch(folder))
        assert code == 0, output
        for kind, count in (("Patient", 2), ("Observation", 1)):
            with open(os.path.join(folder, kind + ".001.ndjson")) as file:
                resources = [json.loads(line) for line in file]
            assert [resource["resourceType"] for resource in resources] == [kind] * count
        # It deletes what it has fetched.
        with open(os.path.join(folder, "log.ndjson")) as file:
            is_gone(json.loads(file.readline())["exportId"])


@test
def smart_fetch_reports_a_failure():
    with tempfile.TemporaryDirectory() as folder:
        code, output = ended(smart_fetch(folder, "--group", "fail"))
        assert code == 1 and "This group can't be exported." in " ".join(output.split()), output


@test
def smart_fetch_resumes_an_export():
    with tempfile.TemporaryDirectory() as folder:
        interrupted(folder)
        code, output = ended(smart_fetch(folder, "--group", "slow"))
        assert code == 0 and "Resuming" in output, output
        assert os.path.exists(os.path.join(folder, "Patient.001.ndjson"))


@test
def smart_fetch_cancels_an_export():
    with tempfile.TemporaryDirectory() as folder:
        location = interrupted(folder)
        code, output = ended(smart_fetch(folder, "--group", "slow", "--cancel"))
        assert code == 0, output
        is_gone(location)


@test
def an_export_goes_as_the_guide_has_it():
    # Bulk Data Access IG, "Bulk Data Export Operation Request Flow", by the letter.
    asking = {"Accept": "application/fhir+json", "Prefer": "respond-async"}
    parameters = {"resourceType": "Parameters", "parameter": [
        {"name": "_type", "valueString": "Patient"}, {"name": "ms", "valueInteger": 1500}, {"name": "steps", "valueInteger": 3}]}
    kinds = [
        lambda: requests.get(FHIR + "/$export?_type=Patient&ms=1500&steps=3", headers=asking),
        lambda: requests.post(FHIR + "/$export", headers=asking | {"Content-Type": "application/fhir+json"},
                              data=json.dumps(parameters)),
    ]
    for kick_off in kinds:
        accepted = kick_off()
        assert accepted.status_code == 202 and "location" not in accepted.headers
        location = accepted.headers["content-location"]
        poll = lambda: requests.get(location, headers={"Accept": "application/json"})
        pending = poll()
        assert pending.status_code == 202 and len(pending.headers["x-progress"]) < 100
        hasty = poll()
        assert hasty.status_code == 429 and hasty.json()["resourceType"] == "OperationOutcome"
        until = time.monotonic() + 20
        while hasty.status_code in (202, 429) and time.monotonic() < until:
            time.sleep(int(hasty.headers["retry-after"]))
            hasty = poll()
        assert (hasty.status_code, hasty.headers["content-type"]) == (200, "application/json")
        assert "expires" in hasty.headers
        manifest = hasty.json()
        assert manifest["requiresAccessToken"] is False and manifest["error"] == []
        assert [file["type"] for file in manifest["output"]] == ["Patient"]
        file = requests.get(manifest["output"][0]["url"], headers={"Accept": "application/fhir+ndjson"})
        assert file.headers["content-type"] == "application/fhir+ndjson"
        assert len(file.text.splitlines()) == manifest["output"][0]["count"]
        assert requests.delete(location).status_code == 202
        is_gone(location)
        assert requests.delete(location).status_code == 404


@test
def an_interaction_ends_as_a_bundle():
    asking = {"Accept": "application/fhir+json", "Prefer": "respond-async"}
    for query, status in (("ms=10", "200 OK"), ("ms=10&outcome=fail&echo=why", "422 Unprocessable Entity")):
        accepted = requests.get(FHIR + "/Patient/1/$everything?" + query, headers=asking)
        assert accepted.status_code == 202
        answer = accepted
        while answer.status_code in (202, 429):
            time.sleep(int(answer.headers["retry-after"]))
            answer = requests.get(accepted.headers["content-location"])
        bundle = answer.json()
        entry = bundle["entry"][0]
        assert (bundle["type"], entry["response"]["status"]) == ("batch-response", status)
        if status == "200 OK":
            assert entry["resource"]["resourceType"] == "Patient"
        else:
            assert entry["response"]["outcome"]["issue"][0]["diagnostics"] == "why"


@test
def refused_exports_are_told_by_outcomes():
    for answer, status in [
        (requests.get(FHIR + "/$export?ms=soon"), 400),
        (requests.post(FHIR + "/$export", data="{", headers={"Content-Type": "application/fhir+json"}), 400),
        (requests.post(FHIR + "/$export", data=b"x" * (8 << 20)), 413),
        (requests.get(FHIR + "/bulk/" + str(uuid.uuid4())), 404),
        (requests.put(FHIR + "/bulk/" + str(uuid.uuid4())), 405),
    ]:
        assert answer.status_code == status, (answer.url, answer.status_code)
        assert answer.headers["content-type"] == "application/fhir+json"
        assert answer.json()["resourceType"] == "OperationOutcome"


failed = 0
for function in TESTS:
    try:
        function()
        print(f"ok      {function.__name__}", flush=True)
    except Exception:
        failed += 1
        print(f"FAILED  {function.__name__}", flush=True)
        traceback.print_exc()
print(f"clients: {len(TESTS) - failed} passed, {failed} failed")
sys.exit(1 if failed else 0)
