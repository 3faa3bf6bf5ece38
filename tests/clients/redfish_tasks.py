"""DMTF's python-redfish-library, and the polling and collections of its Redfish-Tacklebox, against the dialect `Redfish`:
`/redfish` of the workbench."""

import time
import uuid

import redfish
import redfish_utilities
import requests
from redfish_utilities.collections import get_collection_ids

from harness import BASE, main, may_be_read_by_a_page, may_be_sent_by_a_page, test

JOBS = "/redfish/jobs"
TASKS = "/redfish/v1/TaskService/Tasks"


def client(auth="session"):
    context = redfish.redfish_client(BASE, username="root", password="secret")
    context.login(auth=auth)
    return context


def monitored(context, response):
    """As the library's own examples do."""
    until = time.monotonic() + 30
    final = response
    while final.is_processing:
        assert time.monotonic() < until
        time.sleep(response.retry_after)
        final = response.monitor(context)
    return final


def task_of(response):
    return response.dict["@odata.id"]


@test
def it_logs_in_and_out():
    for auth in ("session", "basic"):
        context = client(auth)
        assert context.root.Tasks["@odata.id"] == "/redfish/v1/TaskService"
        service = context.get("/redfish/v1/TaskService").dict
        assert service["Tasks"]["@odata.id"] == TASKS
        context.logout()


@test
def it_monitors_a_task_to_its_response():
    context = client()
    accepted = context.post(JOBS, body={"ms": 1200, "steps": 4, "echo": "é"})
    assert accepted.is_processing and accepted.task_location.startswith(TASKS), accepted
    assert accepted.dict["TaskState"] in ("New", "Running")
    final = monitored(context, accepted)
    assert (final.status, final.dict) == (200, {"ok": True, "echo": "é"})
    # It is given once, and the task goes on telling of it.
    assert context.get(accepted.task_location).status == 404
    task = context.get(task_of(accepted)).dict
    assert (task["TaskState"], task["TaskStatus"], task["PercentComplete"]) == ("Completed", "OK", 100)
    assert task["EndTime"] >= task["StartTime"]


@test
def the_tacklebox_polls_as_well():
    context = client()
    final = redfish_utilities.poll_task_monitor(context, context.post(JOBS, body={"ms": 300, "echo": "t"}), silent=True)
    assert final.dict["echo"] == "t"
    redfish_utilities.verify_response(final)


@test
def it_reports_failures():
    context = client()
    for end, status in (("fail", 422), ("panic", 500), ("error", 500)):
        accepted = context.post(JOBS, body={"ms": 10, "outcome": end, "echo": "why"})
        final = monitored(context, accepted)
        assert final.status == status, (end, final.status)
        task = context.get(task_of(accepted)).dict
        assert (task["TaskState"], task["TaskStatus"]) == ("Exception", "Critical"), task
        last = task["Messages"][-1]
        assert last["Severity"] == "Critical" and (last["Message"] == "why") == (end == "fail"), last
        if end != "fail":
            assert redfish_utilities.messages.get_error_messages(final), final


@test
def it_cancels_by_the_monitor_and_by_the_task():
    context = client()
    for where in (lambda accepted: accepted.task_location, task_of):
        accepted = context.post(JOBS, body={"ms": 60000})
        deleted = context.delete(where(accepted))
        assert (deleted.status, deleted.dict["TaskState"]) == (200, "Cancelled"), deleted
        assert context.get(task_of(accepted)).dict["TaskState"] == "Cancelled"
        assert context.get(accepted.task_location).status == 410
        # Once more: it is gone.
        assert context.delete(task_of(accepted)).status == 200
        assert context.get(task_of(accepted)).status == 404


@test
def it_lists_tasks():
    context = client()
    begun = [context.post(JOBS, body={"ms": 60000}) for _ in range(3)]
    ids = [response.dict["Id"] for response in begun][::-1]
    assert get_collection_ids(context, TASKS)[:3] == ids
    assert get_collection_ids(context, TASKS + "?$top=1")[:3] == ids
    for response in begun:
        context.delete(task_of(response))


@test
def it_is_told_of_bad_requests():
    context = client()
    assert context.post(JOBS, body={"ms": "soon"}).status == 400
    unknown = context.get(f"{TASKS}/{uuid.uuid4()}")
    assert unknown.status == 404 and redfish_utilities.messages.get_error_messages(unknown)
    assert context.get(TASKS, args={"$expand": "."}).status == 501


@test
def a_browser_may_read_what_it_needs():
    origin = {"Origin": "https://example.com"}
    may_be_sent_by_a_page(BASE + JOBS, "POST", "x-auth-token", "content-type")
    accepted = requests.post(BASE + JOBS, json={}, headers=origin)
    for answer in (accepted, requests.get(BASE + accepted.headers["location"], headers=origin)):
        may_be_read_by_a_page(answer, "location", "retry-after", "etag")


main()
