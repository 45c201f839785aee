"""The embedded server (or --target) answers as TF Serving documents, over real sockets."""

from __future__ import annotations

import gzip
import re

import grpc
import pytest
import requests

from .asking import TIMEOUT, as_json, results, same
from .cases import HTTP, JSON, Code, example, infer, listed, model
from .table import GRPC_ONLY, TABLE


def rows(cases):
    return pytest.mark.parametrize("case", cases, ids=lambda case: f"{case.path} {case.name}")


@rows(TABLE)
def test_rest(server, case):
    response = server.ask_rest(case)
    said = response.content.decode()
    assert response.status_code == HTTP[case.code], said
    assert response.headers["content-type"].split(";")[0] == "application/json"
    if case.code is Code.OK:
        assert same(response.json(), case.answer, case.partly), said
    elif case.error:
        error = response.json()["error"]
        assert re.search(case.error, error, re.DOTALL), error


@rows([case for case in [*TABLE, *GRPC_ONLY] if case.grpc is not None])
def test_grpc(server, case):
    code = case.grpc_code or case.code
    if code is not Code.OK:
        with pytest.raises(grpc.RpcError) as raised:
            server.ask_grpc(case.grpc)
        details = raised.value.details()
        assert raised.value.code() is code, details
        assert re.search(case.grpc_error or case.error, details, re.DOTALL), details
        return
    response = server.ask_grpc(case.grpc)
    found = as_json(response, by_rows="predictions" in case.answer)
    assert same(found, case.answer, case.partly), found


@rows([case for case in TABLE if ":" in case.path and case.grpc is not None and not case.error])
def test_grpc_says_which_model_answered(server, case):
    """predict_util.cc, MakeModelSpec: a label becomes a version, no signature the default."""
    asked, said = case.grpc.model_spec, server.ask_grpc(case.grpc).model_spec
    versions = {"": 2 if asked.name == "line" else 1, "stable": 1, "canary": 2}
    assert said == model(
        asked.name,
        asked.version.value or versions[asked.version_label],
        signature_name=asked.signature_name or "serving_default",
    )


def test_several_inferences_at_once(server):
    """multi_inference.cc: one Input, a task for each signature."""
    asked = {way: model("examples", signature_name=way) for way in ("classify", "regress")}
    # They run as one: the signatures must have the same input tensor, and TF 2's have their own.
    with pytest.raises(grpc.RpcError) as raised:
        server.ask_grpc(infer(listed(example(x=0.75)), **asked))
    assert raised.value.code() is Code.INVALID_ARGUMENT
    assert "Input tensor must be the same for all Signatures" in raised.value.details()
    only = server.ask_grpc(infer(listed(example(x=0.75)), regress=asked["regress"])).results
    assert [results(each.regression_result) for each in only] == [{"results": [1.5]}]


def test_a_zipped_request(server):
    """net_http's RequestHandlerOptions: what comes with such a header is inflated."""
    response = requests.post(
        server.rest + "/v1/models/line:predict",
        data=gzip.compress(b'{"instances": [1.0]}'),
        headers={**JSON, "content-encoding": "gzip"},
        timeout=TIMEOUT,
    )
    assert response.json() == {"predictions": [3.5]}


def test_the_type_of_a_request_does_not_matter(server):
    """As `curl -d` sends it."""
    headers = {"content-type": "application/x-www-form-urlencoded"}
    url = server.rest + "/v1/models/line:predict"
    response = requests.post(url, data='{"inputs": [1.0]}', headers=headers, timeout=TIMEOUT)
    assert response.json() == {"outputs": [3.5]}


def test_nothing_is_beside_the_api(server):
    """http_server.cc, Dispatch: only /v1/ is looked at."""
    response = requests.get(server.rest + "/v2/models/line", timeout=TIMEOUT)
    assert response.status_code == 404
