"""What the programs of this folder share: tests are functions, one line is printed for each, and a failure exits 1."""

import sys
import time
import traceback

import requests

BASE = sys.argv[1].rstrip("/")
TESTS = []


def test(function):
    TESTS.append(function)
    return function


def main():
    failed = 0
    for function in TESTS:
        begun = time.monotonic()
        try:
            function()
            print(f"ok      {time.monotonic() - begun:5.1f} s  {function.__name__}", flush=True)
        except Exception:
            failed += 1
            print(f"FAILED  {time.monotonic() - begun:5.1f} s  {function.__name__}", flush=True)
            traceback.print_exc()
    print(f"{len(TESTS) - failed} passed, {failed} failed", flush=True)
    sys.exit(1 if failed else 0)


def comes(read, holds):
    """What is read once it holds: what a job has done is not there yet when its 202 is."""
    until = time.monotonic() + 20
    while not holds(found := read()):
        assert time.monotonic() < until, found
        time.sleep(0.05)
    return found


def may_be_read_by_a_page(answer, *names):
    """Whether pages of another origin see the answer, and these fields of it."""
    assert answer.headers["access-control-allow-origin"] == "https://example.com", answer.headers
    assert answer.headers["access-control-allow-credentials"] == "true", answer.headers
    exposed = answer.headers["access-control-expose-headers"].lower().split(", ")
    assert set(names) <= set(exposed), exposed


def may_be_sent_by_a_page(url, method, *names):
    """Whether a preflight lets pages of another origin send a request with these fields."""
    preflight = requests.options(url, headers={
        "Origin": "https://example.com",
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": ",".join(names)})
    assert preflight.ok, preflight.status_code
    assert preflight.headers["access-control-allow-origin"] == "https://example.com"
    assert preflight.headers["access-control-allow-methods"] == method
    allowed = preflight.headers["access-control-allow-headers"].lower()
    assert all(name in allowed for name in names), allowed
