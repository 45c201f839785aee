"""Schemathesis over the REST API: whatever fits or misses its schema is answered as documented."""

import pytest
import schemathesis
from hypothesis import HealthCheck, settings

# Of https://www.tensorflow.org/tfx/serving/api_rest.
VALUE = {}
ANSWERS = {
    str(code): {
        "description": text,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": required,
                    "properties": dict.fromkeys(required, VALUE),
                }
            }
        },
    }
    for code, text, required in (
        (400, "a request that cannot be answered", ["error"]),
        (404, "no such model", ["error"]),
    )
}


def answers(*required):
    good = {"type": "object", "anyOf": [{"required": [name]} for name in required]}
    content = {"application/json": {"schema": good}}
    return {"200": {"description": "answered", "content": content}, **ANSWERS}


def ask(properties, *required):
    body = {"type": "object", "properties": {"signature_name": {"type": "string"}, **properties}}
    content = {"application/json": {"schema": body}}
    return {
        "post": {
            "requestBody": {"required": True, "content": content},
            "responses": answers(*required),
        }
    }


def tell(*required):
    return {"get": {"responses": answers(*required)}}


ROWS = {"type": "array", "items": VALUE}
EXAMPLES = {
    "examples": {"type": "array", "items": {"type": "object"}},
    "context": {"type": "object"},
}
PATHS = {
    "/v1/models/pair:predict": ask({"instances": ROWS, "inputs": VALUE}, "predictions", "outputs"),
    "/v1/models/line:predict": ask({"instances": ROWS, "inputs": VALUE}, "predictions", "outputs"),
    "/v1/models/matrix:predict": ask({"inputs": {"type": "object"}}, "predictions", "outputs"),
    "/v1/models/examples:classify": ask(EXAMPLES, "results"),
    "/v1/models/examples:regress": ask(EXAMPLES, "results"),
    "/v1/models/line/versions/{version}": tell("model_version_status"),
    "/v1/models/{model}/metadata": tell("metadata"),
    "/v1/models/{model}": tell("model_version_status"),
}
for path, methods in PATHS.items():
    for method in methods.values():
        method["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": schema}
            for name, schema in (
                ("version", {"type": "integer", "minimum": 0}),
                ("model", {"type": "string", "minLength": 1, "pattern": "^[a-z]+$"}),
            )
            if f"{{{name}}}" in path
        ]

schema = schemathesis.openapi.from_dict(
    {"openapi": "3.1.0", "info": {"title": "TF Serving", "version": "1"}, "paths": PATHS}
)


@pytest.fixture(scope="module")
def address(server):
    return server.rest


@schema.parametrize()
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_answers_as_documented(case, address):
    response = case.call(base_url=address)
    case.validate_response(
        response,
        checks=[
            schemathesis.checks.not_a_server_error,
            schemathesis.specs.openapi.checks.status_code_conformance,
            schemathesis.specs.openapi.checks.content_type_conformance,
            schemathesis.specs.openapi.checks.response_schema_conformance,
        ],
    )
