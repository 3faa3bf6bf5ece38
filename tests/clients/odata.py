"""odatapy against the dialect `OData`: `/odata` of the workbench."""

import json

import requests
from odatapy.client import AsyncOperation, HttpxTransport, ODataClient
from odatapy.client.batch import parse_http_response

from harness import BASE, main, test


def odata_client(**options):
    return ODataClient(BASE + "/odata/", HttpxTransport(), **options)


def odata(body, **options):
    client = odata_client(**options)
    return client.execute_async("POST", client.service_root + "/Jobs", json.dumps(body).encode(), "application/json")


@test
def odatapy_follows_a_success():
    for version in ("4.01", "4.0"):
        operation = odata({"ms": 2000, "echo": "o"}, odata_version=version)
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


main()
