"""smart-fetch, and requests by the letter of the guide, against the dialect `Fhir`: `/fhir` of the workbench."""

import json
import os
import subprocess
import sys
import tempfile
import time
import uuid

import requests

from harness import BASE, main, test

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
        {"name": "_type", "valueString": "Patient"}, {"name": "ms", "valueInteger": 2500}, {"name": "steps", "valueInteger": 5}]}
    kinds = [
        lambda: requests.get(FHIR + "/$export?_type=Patient&ms=2500&steps=5", headers=asking),
        lambda: requests.post(FHIR + "/$export", headers=asking | {"Content-Type": "application/fhir+json"},
                              data=json.dumps(parameters)),
    ]
    for kick_off in kinds:
        accepted = kick_off()
        assert accepted.status_code == 202 and "location" not in accepted.headers
        location = accepted.headers["content-location"]
        poll = lambda: requests.get(location, headers={"Accept": "application/json"})
        # As asked for: a job that has not begun yet tells no progress.
        time.sleep(int(accepted.headers["retry-after"]))
        pending = poll()
        assert pending.status_code == 202 and len(pending.headers["x-progress"]) < 100
        # The second within a second: by the third at the latest, if this machine sleeps in between.
        hasty = next(answer for answer in (poll() for _ in range(3)) if answer.status_code == 429)
        assert hasty.json()["resourceType"] == "OperationOutcome"
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


main()
