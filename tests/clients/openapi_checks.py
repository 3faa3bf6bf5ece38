"""What schemathesis does not ask of an answer by itself; see openapi.py."""

import re

import schemathesis

# Of HTTP itself, and of pages of other origins.
EVERYWHERE = re.compile("content-type|content-length|date|connection|transfer-encoding|trailer|access-control-.*")
MALFORMED = ("invalid-job", "query-invalid", "key-invalid", "upload-failed")


def documented(response, case):
    """Other methods than those of the document are tried as well."""
    return response.request.method == case.operation.method.upper()


@schemathesis.check
def what_is_well_formed_is_not_called_malformed(ctx, response, case):
    if not documented(response, case) or case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if response.status_code == 400 and response.content:
        assert response.json()["type"].rsplit(":", 1)[1] not in MALFORMED, response.text


@schemathesis.check
def every_field_is_documented(ctx, response, case):
    definition = case.operation.responses.find_by_status_code(response.status_code)
    if not documented(response, case) or definition is None:
        return
    known = {name.lower() for name, _ in definition.headers.items()}
    others = [name for name in response.headers if name not in known and not EVERYWHERE.fullmatch(name)]
    assert not others, others
