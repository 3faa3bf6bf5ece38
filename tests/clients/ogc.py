"""OWSLib, and a client that was generated from the OpenAPI document of the standard, against the dialect `OgcProcesses`:
`/ogc` of the workbench."""

import json
import time
import uuid

import requests
from ogc_api_processes_client.api_client_wrapper import ApiClientWrapper
from ogc_api_processes_client.configuration import Configuration
from ogc_api_processes_client.exceptions import NotFoundException
from ogc_api_processes_client.models.execute import Execute
from ogc_api_processes_client.models.status_code import StatusCode
from owslib.ogcapi.processes import Processes

from harness import BASE, comes, main, may_be_read_by_a_page, may_be_sent_by_a_page, test

OGC = BASE + "/ogc"
ENDS = ("successful", "failed", "dismissed")


def owslib():
    return Processes(OGC)


def generated():
    return ApiClientWrapper(Configuration(host=OGC))


def begin(client, **inputs):
    asynchronous = {"Prefer": "respond-async", "Content-Type": "application/json"}
    return client.execute_simple("echo", {"inputs": inputs}, _headers=asynchronous)


def ended(read):
    until = time.monotonic() + 30
    while (job := read())["status"] not in ENDS:
        assert time.monotonic() < until, job
        time.sleep(0.1)
    return job


@test
def owslib_finds_its_way():
    api = owslib()
    assert [process["id"] for process in api.processes()] == ["echo"]
    assert "async-execute" in api.process("echo")["jobControlOptions"]
    assert any(name.endswith("/conf/core") for name in api.conformance()["conformsTo"])
    assert "/jobs/{jobId}/results" in api.api()["paths"]
    for link in api.links:
        assert requests.get(link["href"]).ok, link


@test
def owslib_executes_at_once():
    assert owslib().execute("echo", {"echo": "é"}) == {"echo": "é"}


@test
def owslib_follows_a_job_to_its_results():
    api = owslib()
    job = api.execute("echo", {"ms": 400, "steps": 2, "echo": "é"}, async_=True)
    assert job["status"] in ("accepted", "running"), job
    assert api.response_headers["location"].endswith(job["jobID"])
    path = f"jobs/{job['jobID']}"
    job = ended(lambda: api._request(path=path))
    assert (job["status"], job["progress"]) == ("successful", 100)
    assert api._request(path=path + "/results") == {"echo": "é"}
    link = next(link for link in job["links"] if link["rel"].endswith("/results"))
    assert requests.get(link["href"]).json() == {"echo": "é"}


@test
def owslib_reports_a_failure():
    api = owslib()
    job = api.execute("echo", {"ms": 10, "outcome": "fail", "echo": "why"}, async_=True)
    path = f"jobs/{job['jobID']}"
    job = ended(lambda: api._request(path=path))
    assert (job["status"], job["message"]) == ("failed", "why")
    try:
        api._request(path=path + "/results")
    except RuntimeError as error:
        exception = json.loads(str(error))
        assert (exception["status"], exception["detail"]) == (422, "why")
    else:
        raise AssertionError("it had results")


@test
def the_generated_client_follows_a_job():
    client = generated()
    assert client.get_landing_page().links and client.get_conformance_classes().conforms_to
    assert client.get_processes().processes[0].id == "echo"
    assert "echo" in client.get_process_description("echo").outputs
    # Its own types do not tell a string from bytes, nor a float from a whole number that is sent as one.
    asynchronous = {"Prefer": "respond-async"}
    first = client.execute("echo", Execute.from_dict({"inputs": {"ms": 100.0}}), _headers=asynchronous)
    for job in (first, begin(client, ms=300, echo="x")):
        job = ended(lambda: client.get_status(job.job_id).to_dict())
        assert (job["status"], job["type"], job["processID"]) == ("successful", "process", "echo")
    results = requests.get(f"{OGC}/jobs/{job['jobID']}/results")
    assert results.json() == {"echo": "x"}


@test
def the_generated_client_reports_failures():
    client = generated()
    for end, status in (("fail", 422), ("panic", 500), ("error", 500)):
        begun = begin(client, ms=10, outcome=end, echo="why")
        job = ended(lambda: client.get_status(begun.job_id).to_dict())
        assert job["status"] == "failed", job
        try:
            client.get_result(begun.job_id)
        except Exception as error:
            assert error.status == status, error
        else:
            raise AssertionError("it had results")


@test
def the_generated_client_is_told_of_results_that_are_not_there():
    client = generated()
    begun = begin(client, ms=60000)
    for job, name in ((begun.job_id, "result-not-ready"), (str(uuid.uuid4()), "no-such-job")):
        try:
            client.get_result(job)
        except NotFoundException as error:
            assert error.data.type.endswith("/1.0/" + name), error
        else:
            raise AssertionError("it had results")
    client.dismiss(begun.job_id)


@test
def the_generated_client_dismisses():
    client = generated()
    begun = begin(client, ms=60000)
    assert client.dismiss(begun.job_id).status == StatusCode.DISMISSED
    assert client.get_status(begun.job_id).status == StatusCode.DISMISSED
    # Once more: it is removed.
    assert client.dismiss(begun.job_id).status == StatusCode.DISMISSED
    try:
        client.get_status(begun.job_id)
    except NotFoundException as error:
        assert error.data.type.endswith("/no-such-job"), error
    else:
        raise AssertionError("it is still there")


@test
def the_generated_client_lists():
    client = generated()
    begun = [begin(client, ms=60000).job_id for _ in range(2)]
    assert set(begun) <= {job.job_id for job in client.get_jobs().jobs}
    for job in begun:
        client.dismiss(job)


@test
def jobs_are_filtered_and_paged():
    client = generated()
    begun = [begin(client, ms=60000).job_id for _ in range(3)]
    for job in begun:
        comes(lambda: client.get_status(job).status, lambda status: status == StatusCode.RUNNING)
    created = client.get_status(begun[1]).to_dict()["created"].isoformat()

    def listed(**query):
        answer = requests.get(OGC + "/jobs", params={"limit": 1000} | query)
        assert answer.status_code == 200, answer.text
        return [job["jobID"] for job in answer.json()["jobs"] if job["jobID"] in begun]

    newest_first = begun[::-1]
    assert listed(status=["accepted", "running"], type="process", processID="echo") == newest_first
    assert listed(status="successful,failed") == listed(processID="other") == listed(type="other") == []
    assert begun[1] in listed(datetime=created) and begun[1] in listed(datetime=created + "/..")
    assert listed(datetime="../2026-01-01T00:00:00Z") == listed(minDuration=60) == []
    assert listed(maxDuration=60) == newest_first
    url, pages = OGC + "/jobs?limit=1&status=running", []
    while len(pages) < 3:
        page = requests.get(url).json()
        pages += [job["jobID"] for job in page["jobs"]]
        url = next(link["href"] for link in page["links"] if link["rel"] == "next")
    assert pages == newest_first
    refused = requests.get(OGC + "/jobs?status=done")
    assert refused.status_code == 400 and refused.json()["type"].endswith("/invalid-query-parameter-value")
    for job in begun:
        client.dismiss(job)


@test
def a_browser_may_read_what_it_needs():
    origin = {"Origin": "https://example.com"}
    execution = OGC + "/processes/echo/execution"
    may_be_sent_by_a_page(execution, "POST", "prefer", "content-type")
    may_be_sent_by_a_page(f"{OGC}/jobs/{uuid.uuid4()}", "DELETE")
    accepted = requests.post(execution, json={}, headers=origin | {"Prefer": "respond-async"})
    assert accepted.status_code == 201
    for answer in (accepted, requests.get(accepted.headers["location"], headers=origin)):
        may_be_read_by_a_page(answer, "location", "retry-after", "link", "preference-applied")


main()
