"""The source articles of the pattern, each by its own words: `requests` and `httpx` against `/todos`, `/two`,
`/spa`, `/xop`, `/plain/see202` and `/plain/seeother`."""

import time
import uuid
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin

import httpx
import requests

from harness import BASE, main, may_be_read_by_a_page, test


def ended(ask, is_pending, deadline=20):
    """The first answer that is not pending any more."""
    until = time.monotonic() + deadline
    while time.monotonic() < until:
        answer = ask()
        if not is_pending(answer):
            return answer
        assert int(answer.headers["retry-after"]) >= 1
        time.sleep(0.1)
    raise AssertionError("did not end")


def in_progress(answer):
    return answer.status_code == 200 and answer.json().get("status") == "InProgress"


def todo(body):
    accepted = requests.post(BASE + "/todos", json=body)
    assert (accepted.status_code, accepted.content) == (202, b"")
    assert int(accepted.headers["retry-after"]) >= 1
    return accepted.headers["location"]


@test
def requests_follows_a_job_to_its_to_do():
    asked = {"title": "Write an article", "dueBy": "2024-02-14", "ms": 2000}
    location = todo(asked)
    job = requests.get(location)
    assert in_progress(job), (job.status_code, job.text)
    assert job.json()["completedAt"] is None and job.json()["error"] is None
    # Known from the first, and not there yet.
    assert requests.get(job.json()["location"]).status_code == 404
    done = ended(lambda: requests.get(location), in_progress)
    assert [step.status_code for step in done.history] == [302], done.history
    assert (done.status_code, done.url) == (200, job.json()["location"])
    assert done.json() == {"id": done.url.rsplit("/", 1)[1], "isComplete": False, **{k: asked[k] for k in ("title", "dueBy")}}
    assert done.json() in requests.get(BASE + "/todos").json()


@test
def httpx_sees_when_a_job_expires():
    location = todo({"title": "x"})
    done = ended(lambda: httpx.get(location), in_progress)
    assert done.status_code == 302
    job = done.json()
    assert job["status"] == "Completed"
    expires = parsedate_to_datetime(done.headers["expires"]).timestamp()
    assert expires > time.time()


@test
def requests_sees_a_failure_as_400():
    for outcome, error in [("fail", "why"), ("panic", None)]:
        location = todo({"outcome": outcome, "echo": "why"})
        failed = ended(lambda: requests.get(location), in_progress)
        assert (failed.status_code, failed.json()["status"]) == (400, "Failed")
        assert failed.json()["completedAt"]
        assert failed.json()["error"] == (error or "The operation ended with an internal error.")


@test
def requests_cancels_a_job():
    location = todo({"ms": 60000})
    assert requests.delete(location).json()["status"] == "Failed"
    assert requests.get(location).status_code == 400
    assert requests.get(BASE + "/todos/jobs/" + str(uuid.uuid4())).status_code == 404


@test
def the_assertions_of_two_oh_two_hold():
    session = requests.Session()
    started = session.get(BASE + "/two/jobs?ms=2000&echo=r")
    assert started.status_code == 202
    monitor = started.headers["location"]
    assert started.json() == {"job_id": monitor.rsplit("/", 1)[1]}
    working = session.get(monitor)
    assert (working.status_code, working.json()) == (200, {"job_id": "still working..."})
    done = ended(lambda: session.get(monitor), lambda answer: answer.status_code == 200)
    for answer in (done, session.get(monitor)):
        assert (answer.status_code, answer.json()) == (201, started.json())
        result = session.get(answer.headers["location"])
        assert (result.status_code, result.json()) == (200, {"result": {"ok": True, "echo": "r"}})


@test
def two_oh_two_tells_a_failure_at_the_result():
    for outcome in ("fail", "panic", "error"):
        monitor = requests.get(BASE + "/two/jobs?outcome=" + outcome).headers["location"]
        done = ended(lambda: requests.get(monitor), lambda answer: answer.status_code == 200)
        failed = requests.get(done.headers["location"])
        assert (done.status_code, failed.status_code) == (201, 422)
        assert "failed to complete or was not found" in failed.json()["message"]
    nobodys = str(uuid.uuid4())
    assert requests.get(BASE + "/two/monitor/" + nobodys).status_code == 404
    assert requests.get(BASE + "/two/result/" + nobodys).status_code == 422


def in_a_run(answer):
    assert answer.status_code == 200
    run = answer.json()
    assert run["type"] == "Microsoft.Logic/workflows/runs"
    return run["properties"]["status"] in ("Waiting", "Running")


@test
def a_page_follows_a_run_by_bodies_alone():
    accepted = requests.post(BASE + "/spa/jobs", json={"ms": 2000, "echo": "x"}, headers={"Origin": "https://example.com"})
    assert (accepted.status_code, "location" in accepted.headers) == (200, False)
    assert accepted.headers["access-control-allow-origin"] == "https://example.com"
    location = accepted.json()["location"]
    run = requests.get(location).json()["properties"]
    assert run["status"] in ("Waiting", "Running") and run["response"]["status"] == "Waiting"
    done = ended(lambda: requests.get(location), in_a_run).json()["properties"]
    assert (done["status"], done["response"]["status"]) == ("Succeeded", "Succeeded")
    assert done["outputs"]["body"]["value"] == {"ok": True, "echo": "x"}
    link = done["response"]["outputsLink"]
    result = requests.get(link["uri"])
    assert (len(result.content), result.json()) == (link["contentSize"], done["outputs"]["body"]["value"])


@test
def a_page_sees_a_failure_and_cancels():
    location = requests.post(BASE + "/spa/jobs", json={"outcome": "fail", "echo": "why"}).json()["location"]
    failed = ended(lambda: requests.get(location), in_a_run).json()["properties"]
    assert failed["status"] == "Failed"
    assert failed["error"] == {"code": "UnprocessableEntity", "message": "why"}
    location = requests.post(BASE + "/spa/jobs", json={"ms": 60000}).json()["location"]
    assert requests.post(location + "/cancel").status_code == 200
    assert requests.get(location).json()["properties"]["status"] == "Cancelled"


def operation_of(accepted):
    """X-Operation is relative to the root of the API."""
    assert (accepted.status_code, accepted.content) == (202, b"")
    assert "location" not in accepted.headers and "x-resource" in accepted.headers
    operation = accepted.headers["x-operation"]
    assert not operation.startswith(("/", "http")), operation
    assert urljoin(accepted.url, operation) == BASE + "/xop/" + operation
    return BASE + "/xop/" + operation


def created(answer):
    assert answer.status_code == 200
    return answer.json()["state"] == "created"


@test
def a_command_is_created_and_then_completed():
    operation = operation_of(requests.post(BASE + "/xop/jobs", json={"ms": 2000}))
    document = requests.get(operation).json()
    assert (document["state"], document["code"], document["success"]) == ("created", None, False)
    done = ended(lambda: requests.get(operation), created).json()
    assert (done["state"], done["code"], done["success"]) == ("completed", "success", True)
    assert requests.get(operation).json() == done
    assert requests.get(BASE + "/xop/jobs?echo=q").json() == {"ok": True, "echo": "q"}


@test
def a_command_is_rejected_or_ended_by_an_event():
    operation = operation_of(requests.put(BASE + "/xop/jobs", json={"outcome": "fail", "echo": "why"}))
    done = ended(lambda: requests.get(operation), created).json()
    assert (done["state"], done["code"], done["message"]) == ("rejected", "error", "why")
    assert done["resource"] == "/xop/jobs"
    operation = operation_of(requests.delete(BASE + "/xop/jobs?ms=60000"))
    ended_by_event = requests.post(BASE + "/plain/complete/" + operation.rsplit("/", 1)[1], json={})
    assert ended_by_event.status_code == 204
    assert requests.get(operation).json()["state"] == "completed"


@test
def a_command_may_be_forgotten_when_read():
    operation = operation_of(requests.post(BASE + "/xop/jobs?forget=when-read"))
    assert ended(lambda: requests.get(operation), created).json()["success"]
    assert requests.get(operation).status_code == 404


@test
def requests_is_led_from_a_monitor_to_the_result():
    for path, pending in [("/plain/see202", 202), ("/plain/seeother", 200)]:
        accepted = requests.post(BASE + path, json={"ms": 2000, "echo": "r"})
        assert accepted.status_code == 202
        location = accepted.headers["location"]
        first = requests.get(location)
        assert first.status_code == pending
        assert first.json()["status"] in ("accepted", "running")
        if pending == 200:
            again = requests.get(location, headers={"If-None-Match": first.headers["etag"]})
            assert again.status_code in (200, 304)
        done = ended(lambda: requests.get(location), lambda answer: "operation-outcome" not in answer.headers)
        assert [step.status_code for step in done.history] == [303]
        assert (done.status_code, done.json()["echo"], done.url) == (200, "r", location + "/result")
        location = requests.post(BASE + path, json={"outcome": "fail", "echo": "why"}).headers["location"]
        failed = ended(lambda: requests.get(location), lambda answer: "operation-outcome" not in answer.headers)
        assert (failed.status_code, failed.json()["detail"]) == (422, "why")


@test
def a_page_may_read_where_the_job_is():
    for path in ("/todos", "/two/jobs"):
        accepted = requests.post(BASE + path, headers={"Origin": "https://example.com"})
        may_be_read_by_a_page(accepted, "location", "retry-after")
    accepted = requests.post(BASE + "/xop/jobs", headers={"Origin": "https://example.com"})
    may_be_read_by_a_page(accepted, "x-operation", "x-resource", "retry-after")


main()
