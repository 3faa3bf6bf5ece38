"""requests and httpx by the letter of RESTEasy's guide, against the dialect `RestEasy`: `/resteasy` of the workbench."""

import asyncio
import time
import uuid

import httpx
import requests

from harness import BASE, main, may_be_read_by_a_page, may_be_sent_by_a_page, test

JOBS = BASE + "/resteasy/jobs"


def begin(**fields):
    accepted = requests.post(JOBS, params={"asynch": "true"}, data=fields)
    assert (accepted.status_code, accepted.content) == (202, b""), accepted.status_code
    return accepted.headers["location"]


@test
def a_job_is_polled_until_it_is_done():
    job = begin(ms=300, echo="é")
    until = time.monotonic() + 30
    while (answer := requests.get(job)).status_code == 202:
        assert answer.content == b"" and time.monotonic() < until
        time.sleep(0.05)
    for answer in (answer, requests.get(job)):
        assert (answer.status_code, answer.json()) == (200, {"ok": True, "echo": "é"})


@test
def a_wait_is_held_and_runs_out():
    job = begin(ms=3000, echo="w")
    assert requests.get(job, params={"wait": 50}).status_code == 503
    assert requests.get(job, params={"wait": 20000}).json()["echo"] == "w"


@test
def a_result_is_read_and_removed():
    job = begin(ms=2000, size=300000)
    assert requests.post(job).status_code == 202
    taken = requests.post(job, params={"wait": 20000})
    assert taken.content == bytes(i % 251 for i in range(300000))
    for answer in (requests.post(job), requests.get(job)):
        assert answer.status_code == 410, answer.status_code


@test
def failures_are_replayed():
    for end, status in (("fail", 422), ("panic", 500), ("error", 500)):
        failed = requests.get(begin(ms=10, outcome=end, echo="why"), params={"wait": 20000})
        assert failed.status_code == status, (end, failed.status_code)
        assert failed.headers["content-type"] == "application/problem+json"


@test
def what_is_deleted_is_gone():
    job = begin(ms=60000)
    for _ in range(2):
        assert requests.delete(job).status_code == 204
    assert requests.get(job).status_code == 410
    assert requests.delete(f"{BASE}/resteasy/asynch/jobs/{uuid.uuid4()}").status_code == 204


@test
def what_is_one_way_has_no_job():
    fired = requests.post(JOBS, params={"oneway": "true"}, data={"ms": 100})
    assert (fired.status_code, fired.content, fired.headers.get("location")) == (202, b"", None)


@test
def what_does_not_ask_is_answered_at_once():
    answer = requests.post(JOBS, data={"ms": 10, "echo": "s"})
    assert (answer.status_code, answer.json()["echo"]) == (200, "s")
    assert requests.post(JOBS, params={"asynch": "true"}, data={"ms": "soon"}).status_code == 400


@test
def httpx_does_the_same_with_many_at_once():
    async def one(client, echo):
        accepted = await client.put(JOBS, params={"asynch": "", "echo": echo, "ms": 200})
        return (await client.post(accepted.headers["location"], params={"wait": 20000})).json()["echo"]

    async def all_at_once():
        async with httpx.AsyncClient(timeout=30) as client:
            return await asyncio.gather(*(one(client, str(n)) for n in range(20)))

    assert asyncio.run(all_at_once()) == [str(n) for n in range(20)]


@test
def a_browser_may_read_what_it_needs():
    origin = {"Origin": "https://example.com"}
    may_be_sent_by_a_page(JOBS, "POST", "content-type")
    accepted = requests.post(JOBS, params={"asynch": "true"}, headers=origin)
    for answer in (accepted, requests.get(accepted.headers["location"], headers=origin)):
        may_be_read_by_a_page(answer, "location", "retry-after", "operation-outcome")


main()
