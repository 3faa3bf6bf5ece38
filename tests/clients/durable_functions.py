"""Clients of Durable Functions' HTTP API against the dialect `DurableFunctions`: `/durable` of the workbench.

requests and httpx, as a client follows the management URLs; azure-core's poller by `Location`, which takes any 202 for
pending.
"""

import re
import time

import httpx
import requests
from azure.core import PipelineClient
from azure.core.pipeline import policies
from azure.core.polling import LROPoller
from azure.core.polling.base_polling import LocationPolling, LROBasePolling
from azure.core.rest import HttpRequest

from harness import BASE, main, test

JOBS = BASE + "/durable/jobs"
SECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def start(session=requests, query="", **body):
    answer = session.post(JOBS + query, json=body)
    assert answer.status_code == 202, (answer.status_code, answer.text)
    links = answer.json()
    assert answer.headers["location"] == links["statusQueryGetUri"], answer.headers
    return links


def follow(links, session=requests):
    """Polls `statusQueryGetUri` until it is no 202."""
    while True:
        answer = session.get(links["statusQueryGetUri"])
        if answer.status_code != 202:
            return answer
        assert answer.json()["runtimeStatus"] in ("Pending", "Running"), answer.text
        assert answer.headers["location"].startswith(links["statusQueryGetUri"]), answer.headers
        time.sleep(min(int(answer.headers["retry-after"]), 0.2))


@test
def it_follows_the_status_to_the_output():
    for session in (requests.Session(), httpx.Client(), httpx.Client(http2=True)):
        links = start(session, ms=400, steps=2, echo="é")
        answer = follow(links, session)
        document = answer.json()
        assert (answer.status_code, document["runtimeStatus"]) == (200, "Completed"), document
        assert document["output"] == {"ok": True, "echo": "é"}, document
        assert (document["instanceId"], document["name"]) == (links["id"], "jobs"), document
        assert document["customStatus"]["fraction"] == 1, document
        assert SECONDS.fullmatch(document["createdTime"]) and SECONDS.fullmatch(document["lastUpdatedTime"])
        assert "location" not in answer.headers


@test
def it_is_told_where_an_output_is_that_does_not_fit_the_document():
    document = follow(start(size=1000)).json()
    assert requests.get(document["output"]).content == bytes(at % 251 for at in range(1000))


@test
def it_sees_failures_with_200_and_with_500_where_it_asks_for_it():
    for end, output in [("fail", None), ("panic", "internal error"), ("error", "without a response")]:
        links = start(outcome=end, echo="why")
        document = follow(links).json()
        assert document["runtimeStatus"] == "Failed", document
        if output is None:
            assert document["output"]["detail"] == "why", document
        else:
            assert output in document["output"] and "why" not in document["output"], document
        asked = requests.get(links["statusQueryGetUri"] + "?returnInternalServerErrorOnFailure=true")
        assert (asked.status_code, asked.json()) == (500, document)


@test
def it_starts_with_input_as_azure_functions_durable_sends_it():
    url = BASE + "/durable/orchestrators/Words"
    started = requests.post(url, json='{"echo": "text in JSON"}')
    assert started.status_code == 202, started.text
    assert follow(started.json()).json()["output"]["echo"] == "text in JSON"
    refused = requests.post(url, json='{"ms": "soon"}')
    assert refused.status_code == 400 and "`ms`" in refused.json()["ExceptionMessage"], refused.text


@test
def it_terminates_once():
    links = start(ms=60000)
    assert "{text}" in links["terminatePostUri"], links
    terminate = links["terminatePostUri"].replace("{text}", "enough")
    first = requests.post(terminate)
    assert (first.status_code, first.content) == (202, b"")
    answer = follow(links)
    assert (answer.status_code, answer.json()["runtimeStatus"]) == (200, "Terminated")
    assert requests.post(terminate).status_code == 410


@test
def it_purges_what_has_ended():
    links = start(ms=60000)
    purge = links["purgeHistoryDeleteUri"]
    assert requests.delete(purge).json() == {"instancesDeleted": 0}
    requests.post(links["terminatePostUri"])
    answer = requests.delete(purge)
    assert (answer.status_code, answer.json()) == (200, {"instancesDeleted": 1})
    for gone in (requests.delete(purge), requests.get(links["statusQueryGetUri"]), requests.post(links["terminatePostUri"])):
        assert (gone.status_code, gone.content) == (404, b"")


@test
def it_lists_page_by_page():
    ended = [start(echo=str(at)) for at in range(5)]
    begun = [links["id"] for links in ended + [start(ms=5000)]]
    for links in ended:
        follow(links)

    def listed(**query):
        token, found = None, []
        while True:
            headers = {"x-ms-continuation-token": token} if token else {}
            page = requests.get(BASE + "/durable/instances", params={"top": 2, **query}, headers=headers)
            assert page.status_code == 200 and len(page.json()) <= 2, page.text
            found += page.json()
            token = page.headers.get("x-ms-continuation-token")
            if not token:
                return found
    assert [found["instanceId"] for found in listed()][:6] == begun[::-1]
    assert begun[5] in [found["instanceId"] for found in listed(runtimeStatus="Running,Pending")]
    completed = listed(runtimeStatus="Completed")
    assert set(begun[:5]) <= {found["instanceId"] for found in completed}
    assert all(found["runtimeStatus"] == "Completed" for found in completed)
    assert [found["instanceId"] for found in listed(instanceIdPrefix=begun[0])] == [begun[0]]
    assert listed(createdTimeFrom="2100-01-01T00:00:00Z") == []
    assert len(listed(createdTimeFrom="2020-01-01T00:00:00Z", createdTimeTo="2100-01-01T00:00:00Z")) >= 6
    bad = requests.get(BASE + "/durable/instances", params={"runtimeStatus": "Done"})
    assert bad.status_code == 400 and bad.json()["Message"], bad.text


@test
def it_waits_for_the_output_itself():
    answer = requests.post(JOBS + "?timeout=20&pollingInterval=1", json={"ms": 300, "echo": "w"})
    assert (answer.status_code, answer.json()) == (200, {"ok": True, "echo": "w"})
    begun = time.monotonic()
    links = start(query="?timeout=0.5&pollingInterval=0.1", ms=5000)
    assert 0.4 < time.monotonic() - begun < 3
    requests.post(links["terminatePostUri"])


@test
def it_is_told_what_is_not_there_and_what_cannot_be():
    unknown = BASE + "/durable/instances/00000000-0000-4000-8000-000000000000"
    assert requests.get(unknown).status_code == 404
    for action in ("suspend", "resume", "rewind", "restart", "raiseEvent/go"):
        answer = requests.post(f"{unknown}/{action}", json={})
        assert (answer.status_code, bool(answer.json()["Message"])) == (501, True)
    refused = requests.post(JOBS, json={"ms": -1})
    assert refused.status_code == 400 and "`ms`" in refused.json()["Message"], refused.text


def poller(url, **body):
    pipeline = PipelineClient(BASE, policies=[
        policies.RequestIdPolicy(), policies.ContentDecodePolicy(), policies.RetryPolicy(retry_total=0)])
    first = pipeline._pipeline.run(HttpRequest("POST", url, json=body), stream=False)
    # The default delay is so long that a test which needs it fails: it does when Retry-After is missing.
    method = LROBasePolling(timeout=600, lro_algorithms=[LocationPolling()])
    return LROPoller(pipeline, first, lambda response: response.context["deserialized_data"], method)


@test
def a_poller_by_location_has_the_document():
    document = poller(JOBS, ms=1200, echo="l").result(60)
    assert (document["runtimeStatus"], document["output"]["echo"]) == ("Completed", "l"), document
    # Of failures it knows by the status alone.
    assert poller(JOBS, outcome="fail").result(60)["runtimeStatus"] == "Failed"
    ended = poller(JOBS, ms=60000)
    location = ended.polling_method()._initial_response.http_response.headers["location"]
    requests.post(location + "/terminate")
    assert ended.result(60)["runtimeStatus"] == "Terminated"



main()
