"""azure-core against the dialect `Azure`: `/azure` of the workbench. Its pollers as generated clients use them."""

import asyncio
import uuid

import requests
from azure.core import AsyncPipelineClient, PipelineClient
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline import policies
from azure.core.polling import AsyncLROPoller, LROPoller
from azure.core.polling.async_base_polling import AsyncLROBasePolling
from azure.core.polling.base_polling import LROBasePolling, OperationResourcePolling
from azure.core.rest import HttpRequest

from harness import BASE, main, may_be_read_by_a_page, may_be_sent_by_a_page, test

JOBS = BASE + "/azure/jobs"
API_VERSION = "api-version=2026-01-01"


def client():
    """With the policies that generated clients have, retries among them."""
    return PipelineClient(BASE, policies=[
        policies.RequestIdPolicy(), policies.HeadersPolicy(), policies.UserAgentPolicy("tests"),
        policies.ContentDecodePolicy(), policies.RedirectPolicy(), policies.RetryPolicy(),
        policies.CustomHookPolicy()])


def method(kind=LROBasePolling, **options):
    # The default delay is so long that a test which needs it fails: it does when Retry-After is missing.
    return kind(timeout=600, lro_algorithms=[OperationResourcePolling(**options)])


def via(where):
    return {"lro_options": {"final-state-via": where}}


def read(response):
    return response.context["deserialized_data"]


def begin(verb, url, body=None, headers=None, **options):
    """What a `begin_...` of a generated client does."""
    pipeline = client()
    request = HttpRequest(verb, url, json=body, headers=headers)
    first = pipeline._pipeline.run(request, stream=False)
    if first.http_response.status_code != 202:
        raise HttpResponseError(response=first.http_response)
    return LROPoller(pipeline, first, read, method(**options))


def resumed(token, **options):
    """As another process would, that has only the token."""
    return LROPoller.from_continuation_token(
        polling_method=method(**options), continuation_token=token, client=client(), deserialization_callback=read)


def monitor(poller):
    return poller.polling_method()._initial_response.http_response.headers["operation-location"]


def fails(poller):
    try:
        poller.result(30)
    except HttpResponseError as error:
        return error
    raise AssertionError("it reported success")


@test
def it_polls_to_the_result_in_the_document():
    poller = begin("POST", f"{JOBS}?{API_VERSION}", {"ms": 400, "steps": 2, "echo": "é"})
    assert poller.status() in ("NotStarted", "Running"), poller.status()
    document = poller.result(30)
    assert poller.status() == "Succeeded"
    assert document["result"] == {"ok": True, "echo": "é"}
    assert document["percentComplete"] == 100


@test
def it_finds_the_result_by_each_final_state_via():
    cases = [
        ("", {}, True),
        ("", via("operation-location"), True),
        ("", via("azure-async-operation"), True),
        # Without a `Location` there is only the document.
        ("", via("location"), True),
        ("?final=location", {}, False),
        ("?final=location", via("location"), False),
        ("?final=location", via("operation-location"), True),
    ]
    pollers = [begin("POST", JOBS + query, {"ms": 100, "echo": "v"}, **options) for query, options, _ in cases]
    for poller, (query, options, by_document) in zip(pollers, cases):
        found = poller.result(30)
        assert (found["result"] if by_document else found) == {"ok": True, "echo": "v"}, (query, options, found)


@test
def it_fetches_a_result_that_is_no_json_by_location():
    # Without the policy that reads JSON, XML and text, and takes other types for errors.
    pipeline = PipelineClient(BASE, policies=[policies.RequestIdPolicy(), policies.RetryPolicy()])
    first = pipeline._pipeline.run(HttpRequest("POST", JOBS + "?final=location", json={"size": 300000}), stream=False)
    whole = LROPoller(pipeline, first, lambda response: response.http_response.content, method(**via("location")))
    assert whole.result(30) == bytes(i % 251 for i in range(300000))


@test
def it_is_told_where_a_result_is_that_does_not_fit_the_document():
    document = begin("POST", JOBS, {"size": 1000}).result(30)
    assert "result" not in document
    assert requests.get(document["resultLocation"]).content == bytes(i % 251 for i in range(1000))


@test
def it_puts_a_thing_and_has_it_when_it_is_done():
    begun = []
    for options in ({}, via("original-uri"), via("operation-location")):
        url = f"{BASE}/azure/things/{uuid.uuid4()}"
        begun.append((url, begin("PUT", f"{url}?ms=2000&{API_VERSION}", **options)))
        missing = requests.get(url)
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "ThingNotFound")
    for url, poller in begun:
        made = poller.result(30)
        assert made["made"] is True, made
        assert requests.get(url).json() == made
    # What is there already stays so while it is made again.
    again = begin("PUT", f"{url}?ms=100")
    assert requests.get(url).json() == made
    assert again.result(30) == made


@test
def it_ends_a_deletion_with_the_document():
    document = begin("DELETE", f"{JOBS}?ms=100&{API_VERSION}").result(30)
    assert document["status"] == "Succeeded" and "result" not in document, document


@test
def it_reports_what_failed_with_the_code_of_the_document():
    ends = {"fail": "UnprocessableEntity", "panic": "Panicked", "error": "Errored"}
    pollers = [begin("POST", JOBS, {"ms": 100, "outcome": end, "echo": "why"}) for end in ends]
    for poller, (end, code) in zip(pollers, ends.items()):
        error = fails(poller)
        assert poller.status() == "Failed"
        # The poll went well; what it tells of did not.
        assert (error.status_code, error.error.code) == (200, code), (end, str(error))
        assert (error.error.message == "why") == (end == "fail"), str(error)


@test
def it_reports_the_failure_of_a_thing_that_then_is_not_there():
    url = f"{BASE}/azure/things/{uuid.uuid4()}"
    error = fails(begin("PUT", f"{url}?ms=100&outcome=fail&echo=why"))
    assert error.error.message == "why", str(error)
    assert requests.get(url).status_code == 404


@test
def it_is_told_at_once_of_a_bad_request():
    try:
        begin("POST", JOBS, {"ms": -1})
    except HttpResponseError as error:
        assert error.status_code == 400, error.status_code
    else:
        raise AssertionError("it was accepted")


@test
def it_sees_a_cancellation_as_the_end():
    poller = begin("POST", JOBS, {"ms": 60000})
    for _ in range(2):
        cancelled = client().send_request(HttpRequest("POST", f"{monitor(poller)}:cancel?{API_VERSION}"))
        assert (cancelled.status_code, cancelled.json()["status"]) == (200, "Canceled")
    error = fails(poller)
    assert poller.status() == "Canceled"
    # The progress that the document has is not taken for what went wrong.
    assert error.error is None, str(error)
    assert '"status":"Canceled"' in str(error), str(error)


@test
def it_resumes_from_a_token():
    thing = f"{BASE}/azure/things/{uuid.uuid4()}"
    cases = [
        ("POST", JOBS, {}, lambda found: found["result"]["echo"] == "t"),
        ("POST", JOBS + "?final=location", via("location"), lambda found: found["echo"] == "t"),
        ("PUT", thing, {}, lambda found: found["made"]),
    ]
    body = {"ms": 500, "echo": "t"}
    tokens = [begin(verb, url, body, **options).continuation_token() for verb, url, options, _ in cases]
    for token, (verb, url, options, is_result) in zip(tokens, cases):
        found = resumed(token, **options).result(30)
        assert is_result(found), (verb, url, found)


@test
def it_resumes_after_the_end():
    poller = begin("POST", JOBS, {"echo": "late"})
    token = poller.continuation_token()
    poller.result(30)
    assert resumed(token).result(30)["result"]["echo"] == "late"


@test
def it_learns_that_a_forgotten_operation_is_gone():
    poller = begin("POST", JOBS, {"echo": "gone"})
    token = poller.continuation_token()
    poller.result(30)
    assert requests.delete(monitor(poller)).status_code == 204
    error = fails(resumed(token))
    assert (error.status_code, error.error.code) == (404, "OperationNotFound"), error


@test
def it_names_its_operation_and_may_repeat_itself():
    mine = {"Operation-Id": str(uuid.uuid4())}
    first, second = (begin("POST", JOBS, {"ms": 300, "echo": "once"}, headers=mine) for _ in range(2))
    assert monitor(first) == monitor(second)
    documents = [first.result(30), second.result(30)]
    assert documents[0] == documents[1]
    assert documents[0]["id"] == mine["Operation-Id"]
    try:
        begin("POST", JOBS, {"ms": 1, "echo": "twice"}, headers=mine)
    except HttpResponseError as error:
        assert error.status_code == 400, error.status_code
    else:
        raise AssertionError("it was accepted")


async def begin_async(pipeline, verb, url, body=None, **options):
    first = await pipeline._pipeline.run(HttpRequest(verb, url, json=body), stream=False)
    assert first.http_response.status_code == 202
    return AsyncLROPoller(pipeline, first, read, method(AsyncLROBasePolling, **options))


def async_client():
    return AsyncPipelineClient(BASE, policies=[
        policies.RequestIdPolicy(), policies.ContentDecodePolicy(), policies.AsyncRetryPolicy()])


@test
def its_async_poller_does_the_same():
    async def all_at_once():
        async with async_client() as pipeline:
            thing = f"{BASE}/azure/things/{uuid.uuid4()}?ms=300"
            pollers = [
                await begin_async(pipeline, "POST", JOBS, {"ms": 300, "echo": "a"}),
                await begin_async(pipeline, "POST", JOBS + "?final=location", {"ms": 300, "echo": "l"}),
                await begin_async(pipeline, "PUT", thing),
                await begin_async(pipeline, "POST", JOBS, {"ms": 300, "outcome": "fail", "echo": "why"}),
            ]
            return await asyncio.gather(*(poller.result() for poller in pollers), return_exceptions=True)

    document, located, thing, failed = asyncio.run(asyncio.wait_for(all_at_once(), 30))
    assert document["result"]["echo"] == "a"
    assert located["echo"] == "l"
    assert thing["made"] is True
    assert isinstance(failed, HttpResponseError), failed
    assert failed.error.message == "why"


@test
def its_async_poller_resumes_from_a_token():
    async def begun():
        async with async_client() as pipeline:
            return (await begin_async(pipeline, "POST", JOBS, {"ms": 500, "echo": "t"})).continuation_token()

    async def resume(token):
        async with async_client() as pipeline:
            return await AsyncLROPoller.from_continuation_token(
                polling_method=method(AsyncLROBasePolling), continuation_token=token, client=pipeline,
                deserialization_callback=read).result()

    assert asyncio.run(asyncio.wait_for(resume(asyncio.run(begun())), 30))["result"]["echo"] == "t"


@test
def a_browser_may_read_what_it_needs():
    origin = {"Origin": "https://example.com"}
    may_be_sent_by_a_page(JOBS, "POST", "operation-id", "content-type")
    may_be_sent_by_a_page(f"{BASE}/azure/operations/{uuid.uuid4()}", "DELETE", "x-ms-client-request-id")
    accepted = requests.post(JOBS, json={}, headers=origin)
    document = requests.get(accepted.headers["operation-location"], headers=origin)
    unknown = requests.get(f"{BASE}/azure/operations/{uuid.uuid4()}", headers=origin)
    thing = requests.get(f"{BASE}/azure/things/{uuid.uuid4()}", headers=origin)
    for answer in (accepted, document, unknown, thing):
        may_be_read_by_a_page(answer, "operation-location", "operation-id", "retry-after", "location", "x-ms-error-code")


main()
