"""Whether `/openapi.json` is true: of every answer that it tells of there is one, and schemathesis finds no other.

    openapi.py BASE WORKBENCH
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import uuid
from pathlib import Path

import jsonschema
import openapi_spec_validator
import requests

from harness import BASE, main, test

WORKBENCH = sys.argv[2]
DOCUMENT = requests.get(BASE + "/openapi.json").json()
PATHS = DOCUMENT["paths"]
JOBS = {"/plain/jobs": "/plain/status", "/plain/see202": "/plain/see202/status", "/plain/seeother": "/plain/seeother/status"}
SENT = ["get", "post", "put", "patch", "delete"]
ENDED = {"Prefer": "wait=20"}
KEY = "Idempotency-Key"
# Of HTTP itself, and of pages of other origins.
EVERYWHERE = re.compile("content-type|content-length|date|connection|transfer-encoding|trailer|access-control-.*")

# What was answered: path, method, status as the document has it; and the types of problems.
SEEN, TYPES = set(), set()


def resolved(node):
    while "$ref" in node:
        at = DOCUMENT
        for name in node["$ref"].removeprefix("#/").split("/"):
            at = at[name]
        node = at
    return node


def conforms(value, schema):
    # What it refers to is found from its own root.
    schema = {"allOf": [schema], "components": DOCUMENT["components"]}
    jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate(value)


def true_of(path, method, answer):
    """Whether the document tells of the answer: its status, its fields, and its content."""
    where = (method, answer.url, answer.status_code)
    told = PATHS[path][method]["responses"]
    status = str(answer.status_code) if str(answer.status_code) in told else "default"
    assert status in told, where
    response = resolved(told[status])
    SEEN.add((path, method, status))

    headers = {name.lower(): resolved(header) for name, header in response.get("headers", {}).items()}
    undocumented = [name for name in answer.headers if name.lower() not in headers and not EVERYWHERE.fullmatch(name.lower())]
    assert not undocumented, (*where, undocumented)
    for name, header in headers.items():
        if name not in answer.headers:
            assert not header.get("required"), (*where, name)
            continue
        value = answer.headers[name]
        conforms(int(value) if header["schema"].get("type") == "integer" else value, header["schema"])

    content = response.get("content")
    if method == "head" or not content:
        assert not answer.content, where
        return answer
    kind = answer.headers["content-type"].split(";")[0]
    assert kind in content or "*/*" in content, (*where, kind)
    schema = content.get(kind, {}).get("schema")
    if schema:
        conforms(answer.json(), schema)
    if kind == "application/problem+json":
        TYPES.add((shape(path), status, answer.json()["type"]))
    return answer


def shape(path):
    """The same for all three styles."""
    for jobs, mount in JOBS.items():
        if path == jobs:
            return "jobs"
        if path.startswith(mount):
            return "monitor" + path.removeprefix(mount)
    return path


def ask(method, path, base=BASE, query="", headers=None, data=None, **names):
    url = base + path.format(**names) + ("?" + query if query else "")
    answer = requests.request(method.upper(), url, headers=headers, data=data, allow_redirects=False, timeout=30)
    return true_of(path, method, answer)


def accepted(jobs="/plain/jobs", query="ms=0", base=BASE, **more):
    answer = ask("post", jobs, base=base, query=query, **more)
    assert answer.status_code == 202, answer.status_code
    return answer.json()["id"]


def ended(query, base=BASE):
    """The id of a job that has ended."""
    known = accepted(query=query, base=base)
    answer = ask("get", "/plain/status/{id}", base=base, headers=ENDED, id=known)
    assert "operation-outcome" in answer.headers
    return known


@contextlib.contextmanager
def workbench(*flags):
    """One of one's own, with other limits."""
    with subprocess.Popen([WORKBENCH, "--listen", "127.0.0.1:0", *flags], stdout=subprocess.PIPE, text=True) as server:
        try:
            yield server, server.stdout.readline().removeprefix("listening on ").strip()
        finally:
            server.kill()


@test
def the_document_is_valid():
    openapi_spec_validator.validate(DOCUMENT)
    assert requests.get(BASE + "/openapi.json").headers["content-type"] == "application/json"
    assert DOCUMENT["servers"] == [{"url": BASE}]
    assert BASE + "/openapi.json" in requests.get(BASE + "/").text


@test
def a_job_answers_as_the_document_says():
    for jobs in JOBS:
        for method in SENT:
            def expect(status, query, **headers):
                answer = ask(method, jobs, query=query, headers=headers)
                assert answer.status_code == status, (method, jobs, query, answer.status_code)
                return answer

            expect(202, "ms=20&echo=x")
            for status in (200, 202, 400, 408, 409, 410, 413, 414, 422, 500, 503, 504, 418):
                for outcome in ("ok", "fail"):
                    expect(status, f"status={status}&outcome={outcome}&trailers=true", **ENDED)
            for status in (204, 205, 304):
                expect(status, f"status={status}", **ENDED)
            expect(200, "size=1000", **ENDED)
            expect(422, "outcome=fail&echo=why", Prefer="wait=20, respond-async")
            expect(400, "ms=soon")
            expect(400, "", **{KEY: '"'})
            for query in ("outcome=panic", "outcome=error", "size=20000000"):
                expect(500, query, **ENDED)
            key = {KEY: str(uuid.uuid4())}
            known = expect(202, "echo=a", **key).json()["id"]
            assert expect(202, "echo=a", **key).json()["id"] == known
            expect(422, "echo=b", **key)
            ask("get", JOBS[jobs] + "/{id}", headers=ENDED, id=known)
            ask("delete", JOBS[jobs] + "/{id}/result", id=known)
            expect(410, "echo=a", **key)
        for query in ("", "status=204", "status=205", "status=304", "status=418", "ms=soon", "outcome=panic"):
            ask("head", jobs, query=query)
        ask("options", jobs)
    for body, kind in [('{"ms":5.0,"steps":"2","echo":"x"}', "application/json"), ("ms=5&echo=x", "application/x-www-form-urlencoded")]:
        answer = ask("post", "/plain/jobs", data=body, headers={"Content-Type": kind, **ENDED})
        assert answer.json() == {"ok": True, "echo": "x"}, answer.text


@test
def a_monitor_answers_as_the_document_says():
    for mount in JOBS.values():
        monitor = mount + "/{id}"
        paths = (monitor, monitor + "/status", monitor + "/result")
        read = lambda known, **headers: [
            ask(method, path, headers=headers, id=known) for path in paths for method in ("get", "head")]
        pending = accepted(query="ms=60000")
        read(pending)
        read(pending, Prefer="wait=0, respond-async")
        read(pending, **{"If-None-Match": "*"})
        read(pending, **{"If-Match": '"other"'})
        for path in paths[::2]:
            ask("delete", path, headers={"If-Match": '"other"'}, id=pending)
        assert ask("delete", monitor + "/result", id=pending).status_code == 409
        assert ask("delete", monitor, id=pending).json()["status"] == "cancelled"
        read(pending)
        assert ask("delete", monitor + "/result", id=pending).status_code == 204
        read(pending)
        for path in paths[::2]:
            assert ask("delete", path, id=pending).status_code == 410
        for known in (str(uuid.uuid4()), "7"):
            read(known)
            for path in paths:
                ask("options", path, id=known)
            for path in paths[::2]:
                assert ask("delete", path, id=known).status_code == 404
        for status in (200, 202, 204, 205, 304, 404, 410, 500, 503, 504, 418):
            read(ended(f"status={status}"))
        for outcome in ("fail", "panic", "error"):
            read(ended("outcome=" + outcome))
        read(ended("size=20000000"))
        read(ended("size=10&trailers=true"), Prefer="wait=5")


@test
def a_list_answers_as_the_document_says():
    for mount in JOBS.values():
        for method in ("get", "head"):
            ask(method, mount, query="limit=0")
            for query in ("limit=2", "limit=100", "status=succeeded,failed&after=0"):
                assert ask(method, mount, query=query).status_code == 200
        page = ask("get", mount, query="limit=1").json()
        query = urllib.parse.urlsplit(page["next"]).query
        assert ask("get", mount, query=query).json()["operations"][0]["id"] != page["operations"][0]["id"]
        ask("options", mount)


@test
def what_is_completed_from_outside_is_answered_as_the_document_says():
    complete = "/plain/complete/{id}"
    known = accepted(query="ms=60000")
    assert ask("post", complete, data="by hand", headers={"Content-Type": "text/plain"}, id=known).status_code == 204
    assert ask("get", "/plain/status/{id}", id=known).text == "by hand"
    untyped = accepted(query="ms=60000")
    assert ask("post", complete, data=b"", id=untyped).status_code == 204
    assert ask("get", "/plain/status/{id}", id=untyped).headers["content-type"] == "application/octet-stream"
    assert ask("post", complete, data="again", id=known).status_code == 409
    assert ask("post", complete, id=uuid.uuid4()).status_code == 404
    assert ask("post", complete, data=b"x" * (17 << 20), id=accepted(query="ms=60000")).status_code == 413


@test
def an_id_that_is_no_text_is_unknown():
    assert ask("post", "/plain/complete/{id}", id="%ff").status_code == 404


@test
def a_whole_number_may_be_written_with_a_point():
    for ms, status in (("5.0", 202), ("5.5", 400), ("-1.0", 400), ("1e300", 400)):
        answer = ask("post", "/plain/jobs", data='{"ms":%s}' % ms, headers={"Content-Type": "application/json"})
        assert answer.status_code == status, (ms, answer.status_code)


@test
def what_passes_the_layer_and_panics_is_answered():
    for jobs in JOBS:
        assert ask("head", jobs, query="outcome=panic").status_code == 500
        streams = {"Accept": "text/event-stream"}
        assert ask("get", jobs, query="outcome=panic", headers=streams).status_code == 500


@test
def methods_that_are_not_documented_are_405_and_told():
    known = ended("ms=0")
    for path, methods in PATHS.items():
        documented = {method.upper() for method in methods} - {"PARAMETERS"}
        for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} - documented:
            answer = requests.request(method, BASE + path.format(id=known))
            assert answer.status_code == 405, (method, path, answer.status_code)
            assert set(answer.headers["allow"].split(", ")) == documented, (method, path, answer.headers["allow"])


@test
def limits_are_answered_as_the_document_says():
    with workbench("--strict-keys") as (_, base):
        for jobs in JOBS:
            for method in SENT:
                headers = {KEY: str(uuid.uuid4())}
                assert ask(method, jobs, base=base, query="ms=9000", headers=headers).status_code == 202
                assert ask(method, jobs, base=base, query="ms=9000", headers=headers).status_code == 409
    limits = ["--request-body=100", "--upload-time=1s", "--run-time=100ms"]
    with workbench(*limits) as (_, base):
        for jobs in JOBS:
            for method in SENT:
                assert ask(method, jobs, base=base, data=b"x" * 101).status_code == 413
                assert ask(method, jobs, base=base, query="echo=" + "x" * 9000).status_code == 414
                assert ask(method, jobs, base=base, query="ms=9000", headers=ENDED).status_code == 504
        slow, broken = upload(base, end=False), upload(base, end=True)
        assert (slow.status_code, broken.status_code) == (408, 400)
        timed_out = ended("ms=9000", base)
        for mount in JOBS.values():
            for path in (mount + "/{id}", mount + "/{id}/result"):
                for method in ("get", "head"):
                    assert ask(method, path, base=base, id=timed_out).status_code in (504, 303)


def upload(base, end):
    """The answer to a body of which only the beginning comes."""
    host = urllib.parse.urlsplit(base)
    with socket.create_connection((host.hostname, host.port), timeout=20) as connection:
        connection.sendall(b"POST /plain/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        if end:
            connection.sendall(b"no length\r\n")
        head, body = b"", b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(65536)
        head, body = head.split(b"\r\n\r\n", 1)
        lines = head.decode().split("\r\n")
        answer = requests.Response()
        answer.url, answer.status_code = base + "/plain/jobs", int(lines[0].split()[1])
        answer.headers.update(line.split(": ", 1) for line in lines[1:])
        while len(body) < int(answer.headers["content-length"]):
            body += connection.recv(65536)
        answer._content = body
        return true_of("/plain/jobs", "post", answer)


@test
def a_server_that_is_full_and_one_that_stops_answer_as_the_document_says():
    with workbench("--running=1", "--accepted=1", "--start-within=2s", "--drain=20s") as (server, base):
        accepted(query="ms=60000", base=base)
        waits = accepted(query="ms=60000", base=base)
        full = ask("post", "/plain/jobs", base=base)
        assert full.status_code == 503 and full.json()["type"].endswith(":full"), full.text
        for mount in JOBS.values():
            for path in (mount + "/{id}", mount + "/{id}/result"):
                answer = ask("get", path, base=base, headers=ENDED, id=waits)
                assert answer.json()["type"].endswith(":not-started"), answer.text
        server.send_signal(signal.SIGTERM)
        until = time.monotonic() + 10
        while ask("post", "/plain/jobs", base=base).json().get("type") != "urn:tower-lro:problem:draining":
            assert time.monotonic() < until
            time.sleep(0.05)


# Of these there is none without a disk that fails, a process that dies, or a race.
UNREACHED = {"unavailable", "lost", "interrupted"}
# In time they come as `no-response`, never begin without a place, and are nobody's to cancel.
UNREACHED_IN_TIME = UNREACHED | {"errored", "not-started", "cancelled"}


@test
def of_every_documented_answer_there_is_one():
    documented = {
        (path, method, status)
        for path, methods in PATHS.items()
        for method, operation in methods.items() if method != "parameters"
        for status in operation["responses"]}
    missed = {(path, method, status) for path, method, status in documented - SEEN if status != "503"}
    assert not missed, sorted(missed)
    unreached = {
        (shape(path), status, kind)
        for path, method, status in documented if method != "head"
        for kind in types(resolved(PATHS[path][method]["responses"][status]))} - TYPES
    excused = lambda path, kind: kind.rsplit(":", 1)[1] in (UNREACHED_IN_TIME if path == "jobs" else UNREACHED)
    unreached = {told for told in unreached if not excused(told[0], told[2])}
    assert not unreached, sorted(unreached)


def types(response):
    """Of the problems that a response may be."""
    schema = response.get("content", {}).get("application/problem+json", {}).get("schema", {})
    return re.findall('"(urn:[a-z:-]+:[a-z-]+)"', json.dumps(schema))


@test
def schemathesis_finds_nothing_that_the_document_does_not_tell():
    here = Path(__file__).parent
    with workbench("--wait=1s", "--run-time=300ms") as (_, base), tempfile.TemporaryDirectory() as folder:
        run = subprocess.run(
            [Path(sys.executable).with_name("schemathesis"), "--config-file", here / "openapi.toml", "--no-color",
             "run", base + "/openapi.json", "--seed", "20261121"],
            cwd=folder, capture_output=True, text=True, timeout=120,
            env={**os.environ, "SCHEMATHESIS_HOOKS": "openapi_checks", "PYTHONPATH": str(here)})
    assert run.returncode == 0, run.stdout[-20000:] + run.stderr
    print("       ", "\n         ".join(re.findall("(?:Operations|API Links|Scenarios): .*|.* generated.*", run.stdout)))


main()
