"""google-api-core's REST operations client against the dialect `GoogleRest`: `/v1` of the workbench.

Its futures as generated clients use them, and proto-JSON read strictly: no member that the messages have not.
"""

import uuid

import requests
from google.api_core import exceptions, operation, retry
from google.api_core.operations_v1 import AbstractOperationsClient
from google.api_core.operations_v1.transports.rest import OperationsRestTransport
from google.auth.credentials import AnonymousCredentials
from google.longrunning import operations_pb2
from google.protobuf import any_pb2, empty_pb2, json_format, struct_pb2
from google.rpc import code_pb2

from harness import BASE, main, test

PROJECT = "projects/demo"


def client(**options):
    return AbstractOperationsClient(transport=OperationsRestTransport(
        host=BASE, url_scheme="http", credentials=AnonymousCredentials(), **options))


def of_service():
    """As generated clients have it for operations of the service itself."""
    operations = "google.longrunning.Operations."
    return client(http_options={
        operations + "ListOperations": [{"method": "get", "uri": "/v1/{name=operations}"}],
        operations + "GetOperation": [{"method": "get", "uri": "/v1/{name=operations/**}"}],
        operations + "DeleteOperation": [{"method": "delete", "uri": "/v1/{name=operations/**}"}],
        operations + "CancelOperation": [
            {"method": "post", "uri": "/v1/{name=operations/**}:cancel", "body": "*"}],
    })


def parsed(answer, message=operations_pb2.Operation):
    return json_format.Parse(answer.content, message(), ignore_unknown_fields=False)


def run(body, parent=""):
    """What the method of a generated client does: the first answer is an operation."""
    answer = requests.post(f"{BASE}/v1/{parent}jobs:run", json=body)
    if not answer.ok:
        raise exceptions.from_http_response(answer)
    assert answer.status_code == 200, answer.status_code
    return parsed(answer)


def future(first, operations, result=struct_pb2.Value):
    return operation.from_gapic(
        first, operations, result, metadata_type=struct_pb2.Struct,
        polling=retry.Retry(predicate=retry.if_exception_type(operation.polling._OperationNotComplete),
                            initial=0.1, maximum=0.5, timeout=30))


def ended(name):
    """Waits by the custom method, which the client does not have."""
    return parsed(requests.post(f"{BASE}/v1/{name}:wait?timeout=25s", json={}))


@test
def it_polls_to_the_result():
    for operations, parent in [(of_service(), ""), (client(), PROJECT + "/")]:
        first = run({"ms": 400, "steps": 2, "echo": "é"}, parent)
        assert first.name.startswith(parent + "operations/"), first.name
        assert not first.done and first.WhichOneof("result") is None
        found = future(first, operations)
        assert json_format.MessageToDict(found.result()) == {"ok": True, "echo": "é"}
        assert found.done() and not found.cancelled()
        told = json_format.MessageToDict(found.metadata)
        assert (told["state"], told["progressPercent"]) == ("SUCCEEDED", 100), told


@test
def it_reports_what_failed_with_its_code():
    operations = of_service()
    cases = [
        ({"outcome": "fail", "echo": "why"}, exceptions.InvalidArgument, "why"),
        ({"outcome": "fail", "status": 404, "echo": "where"}, exceptions.NotFound, "where"),
        ({"outcome": "fail", "status": 503, "echo": "when"}, exceptions.ServiceUnavailable, "when"),
        ({"outcome": "panic", "echo": "secret"}, exceptions.InternalServerError, "internal error"),
        ({"outcome": "error", "echo": "secret"}, exceptions.InternalServerError, "without a response"),
    ]
    futures = [future(run({"ms": 100, **body}), operations) for body, _, _ in cases]
    for found, (body, kind, message) in zip(futures, cases):
        error = found.exception()
        assert isinstance(error, kind), (body, error)
        assert message in error.message and "secret" not in str(error), error


@test
def it_cancels():
    operations = of_service()
    found = future(run({"ms": 60000}), operations)
    assert found.cancel()
    assert found.cancelled()
    assert isinstance(found.exception(), exceptions.Cancelled), found.exception()
    # Once more: it is told nothing new.
    operations.cancel_operation(found.operation.name)
    assert operations.get_operation(found.operation.name).error.code == code_pb2.CANCELLED


@test
def a_cancel_comes_too_late_for_what_is_done():
    operations = of_service()
    name = run({"echo": "x"}).name
    ended(name)
    operations.cancel_operation(name)
    assert operations.get_operation(name).WhichOneof("result") == "response"


@test
def it_deletes_and_that_does_not_cancel():
    operations = of_service()
    for body in ({"echo": "x"}, {"ms": 1000}):
        name = run(body).name
        operations.delete_operation(name)
        try:
            operations.get_operation(name)
        except exceptions.NotFound as error:
            assert error.code == 404, error
        else:
            raise AssertionError("it is still there")


@test
def it_is_told_what_is_unknown():
    operations = of_service()
    name = f"operations/{uuid.uuid4()}"
    for ask in (operations.get_operation, operations.delete_operation, operations.cancel_operation):
        try:
            ask(name)
        except exceptions.NotFound as error:
            assert error.message.endswith("There is no such operation."), error.message
            assert error.errors == [] or not error.errors, error.errors
        else:
            raise AssertionError("it is there")


@test
def it_is_told_at_once_of_a_bad_request():
    try:
        run({"ms": -1})
    except exceptions.BadRequest as error:
        assert "`ms`" in error.message, error.message
    else:
        raise AssertionError("it was accepted")


@test
def it_lists_page_by_page():
    for operations, parent, name in [(of_service(), "", "operations"), (client(), PROJECT + "/", PROJECT)]:
        names = [run({"echo": str(at)}, parent).name for at in range(3)]
        for started in names:
            ended(started)
        names.append(run({"ms": 5000}, parent).name)

        def listed(**options):
            return list(operations.list_operations(name=name, page_size=2, **options))
        newest = [found.name for found in listed(filter_="")][:4]
        assert newest == names[::-1], (newest, names)
        assert all(found.done for found in listed(filter_="done=true"))
        assert names[3] in [found.name for found in listed(filter_="done = false")]
        try:
            listed(filter_="color=red")
        except exceptions.BadRequest as error:
            assert "filter" in error.message
        else:
            raise AssertionError("it was taken for a filter")


@test
def it_waits():
    name = run({"ms": 3000, "echo": "w"}).name
    early = parsed(requests.post(f"{BASE}/v1/{name}:wait?timeout=0.1s"))
    assert not early.done
    assert ended(name).done


@test
def each_result_is_an_any_that_can_be_unpacked():
    def unpacked(body, kind):
        result = ended(run(body).name).response
        assert result.type_url == "type.googleapis.com/" + kind.DESCRIPTOR.full_name, result.type_url
        message = kind()
        assert any_pb2.Any.Unpack(result, message)
        return message

    assert unpacked({"status": 204}, empty_pb2.Empty) == empty_pb2.Empty()
    assert json_format.MessageToDict(unpacked({"echo": "j"}, struct_pb2.Value))["echo"] == "j"
    large = json_format.MessageToDict(unpacked({"echo": "x" * 100000}, struct_pb2.Value))
    assert large["echo"] == "x" * 100000
    media = json_format.MessageToDict(unpacked({"size": 1000}, struct_pb2.Value))
    assert (media["contentType"], media["size"]) == ("application/octet-stream", "1000"), media
    assert requests.get(media["mediaLink"]).content == bytes(at % 251 for at in range(1000))


@test
def every_answer_is_strict_proto_json():
    listed = parsed(requests.get(BASE + "/v1/operations?pageSize=100"), operations_pb2.ListOperationsResponse)
    assert len(listed.operations) > 10
    name = run({"ms": 100}).name
    for answer in (requests.post(f"{BASE}/v1/{name}:cancel", json={}), requests.delete(f"{BASE}/v1/{name}")):
        assert (answer.status_code, parsed(answer, empty_pb2.Empty)) == (200, empty_pb2.Empty())


main()
