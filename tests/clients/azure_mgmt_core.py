"""azure-mgmt-core against the dialect `Arm`: `/subscriptions` of the workbench. Its pollers as generated clients use them."""

import asyncio
import uuid

import requests
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.core.pipeline import policies
from azure.core.polling import AsyncLROPoller, LROPoller
from azure.core.rest import HttpRequest
from azure.mgmt.core import ARMPipelineClient, AsyncARMPipelineClient
from azure.mgmt.core.polling.arm_polling import (
    ARMPolling, AzureAsyncOperationPolling, BodyContentPolling, LocationPolling)
from azure.mgmt.core.polling.async_arm_polling import AsyncARMPolling

from harness import BASE, comes, main, test

GROUP = BASE + "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg/providers/Workbench.Demo"
API_VERSION = "api-version=2026-01-01"
TERMINAL = ("Succeeded", "Failed", "Canceled")


def client():
    return ARMPipelineClient(BASE, policies=[
        policies.RequestIdPolicy(), policies.HeadersPolicy(), policies.ContentDecodePolicy(),
        policies.RedirectPolicy(), policies.RetryPolicy()])


def method(kind=ARMPolling, **options):
    # The default delay is so long that a test which needs it fails: it does when Retry-After is missing.
    return kind(timeout=600, **options)


def via(where):
    return {"lro_options": {"final-state-via": where}}


def read(response):
    return response.context["deserialized_data"]


def thing():
    return f"{GROUP}/things/{uuid.uuid4()}"


def begin(verb, url, body=None, **options):
    """What a `begin_...` of a generated client does."""
    pipeline = client()
    url += ("&" if "?" in url else "?") + API_VERSION
    first = pipeline._pipeline.run(HttpRequest(verb, url, json=body), stream=False)
    if first.http_response.status_code not in (200, 201, 202, 204):
        raise HttpResponseError(response=first.http_response)
    if verb == "PUT":
        comes(lambda: requests.get(url), lambda answer: answer.status_code == 200)
    return LROPoller(pipeline, first, read, method(**options))


def job(**properties):
    return {"location": "here", "properties": properties}


def first(poller):
    return poller.polling_method()._initial_response.http_response


def fails(poller):
    try:
        poller.result(60)
    except HttpResponseError as error:
        return error
    raise AssertionError("it reported success")


def put(**properties):
    url = thing()
    return url, begin("PUT", url, job(**properties))


@test
def it_puts_a_resource_and_has_it_when_it_is_made():
    begun = []
    for options in ({}, via("azure-async-operation"), via("original-uri"), via("location")):
        url = thing()
        assert requests.get(url).status_code == 404
        poller = begin("PUT", url, job(ms=800, steps=2, color="red"), **options)
        assert first(poller).status_code == 201
        answered = first(poller).json()
        assert answered["id"] == url[len(BASE):], answered
        assert answered["type"] == "Workbench.Demo/things", answered
        assert answered["properties"]["provisioningState"] not in TERMINAL, answered
        begun.append((url, poller))
    for url, poller in begun:
        made = poller.result(60)
        assert poller.status() == "Succeeded"
        assert made == requests.get(url).json(), made
        assert (made["location"], made["properties"]["color"]) == ("here", "red"), made
        assert made["properties"]["provisioningState"] == "Succeeded", made
        assert made["id"] == url[len(BASE):], made
    listed = requests.get(GROUP + "/things").json()["value"]
    assert {url[len(BASE):] for url, _ in begun} <= {found["id"] for found in listed}


@test
def it_follows_the_provisioning_state_of_a_resource():
    url = thing()
    poller = begin("PUT", url, job(ms=1500), lro_algorithms=[BodyContentPolling()])
    made = poller.result(60)
    assert made["properties"]["provisioningState"] == "Succeeded", made
    # It fails in the same way.
    url = thing()
    error = fails(begin("PUT", url, job(ms=1500, outcome="fail"), lro_algorithms=[BodyContentPolling()]))
    assert "Failed" in str(error) or "failed" in str(error), error
    assert requests.get(url).json()["properties"]["provisioningState"] == "Failed"


@test
def it_changes_a_resource():
    url, poller = put(ms=10, color="red")
    poller.result(60)
    changed = begin("PATCH", url, {"properties": {"ms": 300, "color": "blue"}})
    assert first(changed).status_code == 202 and not first(changed).text()
    assert changed.result(60)["properties"]["color"] == "blue"
    again = begin("PUT", url, job(ms=10, color="green"))
    assert again.result(60)["properties"]["color"] == "green"


@test
def it_deletes_a_resource():
    url, poller = put(ms=10)
    poller.result(60)
    for options in ({}, {"lro_algorithms": [LocationPolling()]}):
        url, poller = put(ms=10)
        poller.result(60)
        deletion = begin("DELETE", url + "?ms=2000", **options)
        assert first(deletion).status_code == 202 and not first(deletion).text()
        comes(lambda: requests.get(url).json()["properties"]["provisioningState"], lambda state: state == "Deleting")
        deletion.result(60)
        assert requests.get(url).status_code == 404
    # What is not there is deleted at once.
    assert requests.delete(url).status_code == 204


@test
def it_has_the_result_of_an_action_by_each_way():
    url, poller = put(ms=10)
    poller.result(60)
    cases = [
        ({}, False),
        (via("location"), False),
        (via("azure-async-operation"), True),
        ({"lro_algorithms": [LocationPolling()]}, False),
        ({"lro_algorithms": [AzureAsyncOperationPolling()]}, False),
    ]
    pollers = [begin("POST", url + "/run", {"ms": 400, "echo": "é"}, **options) for options, _ in cases]
    for poller, (options, by_document) in zip(pollers, cases):
        found = poller.result(60)
        assert poller.status() == "Succeeded"
        if by_document:
            assert (found["status"], found["percentComplete"]) == ("Succeeded", 100), found
            assert found["name"] == found["id"].rsplit("/", 1)[1], found
        assert (found["properties"] if by_document else found) == {"ok": True, "echo": "é"}, (options, found)


@test
def it_reports_what_failed():
    url, poller = put(ms=10)
    poller.result(60)
    cases = [("fail", "JobFailed", "why"), ("panic", "Panicked", None), ("error", "Errored", None)]
    pollers = [begin("POST", url + "/run", {"ms": 100, "outcome": end, "echo": "why"}) for end, _, _ in cases]
    for poller, (end, code, message) in zip(pollers, cases):
        error = fails(poller)
        assert poller.status() == "Failed"
        # The poll went well; what it tells of did not.
        assert (error.status_code, error.error.code) == (200, code), (end, str(error))
        assert (error.error.message == "why") == (message == "why"), str(error)
    # The other monitor answers with the very status.
    error = fails(begin("POST", url + "/run", {"outcome": "fail", "echo": "why"}, lro_algorithms=[LocationPolling()]))
    assert (error.status_code, error.error.code, error.error.message) == (422, "JobFailed", "why"), str(error)


@test
def it_reports_a_resource_that_could_not_be_made():
    url, poller = put(ms=100, outcome="fail", echo="why")
    error = fails(poller)
    assert (error.error.code, error.error.message) == ("JobFailed", "why"), str(error)
    assert requests.get(url).json()["properties"]["provisioningState"] == "Failed"


@test
def it_is_told_at_once_of_a_bad_request():
    try:
        put(ms=-1)
    except HttpResponseError as error:
        assert (error.status_code, error.error.code) == (400, "InvalidJob"), error
    else:
        raise AssertionError("it was accepted")


@test
def it_sees_a_cancellation_as_the_end():
    url, poller = put(ms=60000)
    status = first(poller).headers["azure-asyncoperation"]
    for _ in range(2):
        assert requests.post(f"{status}/cancel?{API_VERSION}").status_code == 204
    error = fails(poller)
    assert (poller.status(), error.error.code) == ("Canceled", "OperationCanceled"), str(error)
    assert requests.get(url).json()["properties"]["provisioningState"] == "Canceled"


@test
def it_finds_a_resource_as_azure_mgmt_resource_spells_it():
    # Its generic resources: a group in lower case, and an empty parent.
    url = thing()
    spelled = url.replace("/resourceGroups/", "/resourcegroups/").replace("/things/", "//things/")
    made = begin("PUT", spelled, job(ms=100)).result(60)
    assert BASE + made["id"] == url and made["type"] == "Workbench.Demo/things", made
    assert requests.get(spelled).json() == requests.get(url).json() == made
    assert requests.head(spelled).status_code == 204
    begin("DELETE", spelled).result(60)
    assert requests.head(url).status_code == 404


@test
def it_learns_that_an_operation_is_unknown():
    poller = begin("POST", thing() + "/run", {"ms": 10})
    for name in ("azure-asyncoperation", "location"):
        url = first(poller).headers[name].rsplit("/", 1)[0] + "/" + str(uuid.uuid4())
        answer = requests.get(url)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "OperationNotFound")
    poller.result(60)


@test
def it_resumes_from_a_token():
    url, poller = put(ms=700)
    action = begin("POST", thing() + "/run", {"ms": 700, "echo": "t"})
    cases = [(poller, lambda found: found["properties"]["provisioningState"] == "Succeeded"),
             (action, lambda found: found["echo"] == "t")]
    for token, is_result in [(poller.continuation_token(), check) for poller, check in cases]:
        resumed = LROPoller.from_continuation_token(
            polling_method=method(), continuation_token=token, client=client(), deserialization_callback=read)
        assert is_result(resumed.result(60))


@test
def its_async_poller_does_the_same():
    async def both():
        pipeline = AsyncARMPipelineClient(BASE, policies=[
            policies.RequestIdPolicy(), policies.ContentDecodePolicy(), policies.AsyncRetryPolicy()])
        async with pipeline:
            pollers = []
            for verb, url, body in [("PUT", thing(), job(ms=400)), ("POST", thing() + "/run", {"ms": 400, "echo": "a"}),
                                    ("POST", thing() + "/run", {"ms": 400, "outcome": "fail", "echo": "why"})]:
                answer = await pipeline._pipeline.run(HttpRequest(verb, url, json=body), stream=False)
                pollers.append(AsyncLROPoller(pipeline, answer, read, method(AsyncARMPolling)))
            return await asyncio.gather(*(poller.result() for poller in pollers), return_exceptions=True)

    made, found, failed = asyncio.run(asyncio.wait_for(both(), 60))
    assert made["properties"]["provisioningState"] == "Succeeded", made
    assert found == {"ok": True, "echo": "a"}, found
    assert isinstance(failed, HttpResponseError) and not isinstance(failed, ResourceNotFoundError), failed
    assert failed.error.message == "why", failed


main()
