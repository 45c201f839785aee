"""The files that deploy models, read by what will read them.

TF Serving, Docker and Kubernetes are not here: files are parsed by TF Serving's messages, and
checked against the schemas of Kubernetes and Compose.
"""

from __future__ import annotations

import json
import re
import subprocess
from importlib import resources
from pathlib import Path
from urllib.parse import unquote

import check_jsonschema
import jsonschema
import kubernetes_validate
import pytest
import tensorflow as tf
import yaml
from google.protobuf import text_format
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tfnlp.deployment import models, plan, render, versions, warmup
from tfnlp.serving import configuration

from .reading import batching, interpolated, message, models_of, overlaid, requests_of
from .saving import run, save

FILES = {
    *("README.md", "Dockerfile", "compose.yaml", "compose.gpu.yaml"),
    *(f"config/{name}.config" for name in ("models", "batching", "monitoring")),
    *(
        f"kubernetes/base/{name}.yaml"
        for name in (*("configmap", "deployment", "hpa", "kustomization", "pdb", "pvc", "service"),)
    ),
    *("kubernetes/gpu/kustomization.yaml", "kubernetes/gpu/patch.yaml", "kubernetes/loader.yaml"),
}


@pytest.fixture(scope="module")
def written(saved, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("deployments") / "deploy"
    arguments = ["--cpus", 3, "--max-batch-size", 24, "--max-batch-size", "writer=6"]
    run(saved / "loud", saved / "writer", "--output", out, *arguments)
    return out


def test_all_files_are_there_and_explained(written):
    there = {str(path.relative_to(written)) for path in written.rglob("*") if path.is_file()}
    assert there == {
        *FILES,
        *("batching/loud.pbtxt", "batching/writer.pbtxt", ".tfnlp-deploy.json"),
    }
    for name in there - {"README.md", ".tfnlp-deploy.json"}:
        assert (written / name).read_text("utf-8").startswith(("#", "apiVersion")), name


def test_the_server_reads_models_and_monitoring(written):
    served = models_of((written / "config/models.config").read_text("utf-8"))
    found = [(c.name, c.base_path, c.model_platform) for c in served]
    assert found == [(n, f"/models/{n}", "tensorflow") for n in ("loud", "writer")]
    policies = [c.model_version_policy.latest for c in served]
    assert [policy.num_versions for policy in policies] == [1, 1]
    assert [m.name for m in configuration.read(written / "config/models.config")] == [
        "loud",
        "writer",
    ]
    monitoring = (written / "config/monitoring.config").read_text("utf-8")
    inner = monitoring[monitoring.index("{") + 1 : monitoring.rindex("}")]
    fields = {"enable": ("bool", False), "path": ("string", False)}
    prometheus = text_format.Parse(inner, message("PrometheusConfig", fields))
    assert prometheus.enable
    deployment = yaml.safe_load((written / "kubernetes/base/deployment.yaml").read_text("utf-8"))
    notes = deployment["spec"]["template"]["metadata"]["annotations"]
    assert notes["prometheus.io/path"] == prometheus.path
    assert notes["prometheus.io/port"] == "8501"


@pytest.mark.parametrize(
    ("file", "sizes"),
    [
        ("config/batching.config", [1, 2, 4, 6]),  # the fewest, as they hold for all
        ("batching/loud.pbtxt", [1, 2, 4, 8, 16, 24]),
        ("batching/writer.pbtxt", [1, 2, 4, 6]),
    ],
)
def test_batch_sizes_end_at_the_maximum(written, file, sizes):
    parameters = batching(written / file)
    assert list(parameters.allowed_batch_sizes) == sizes
    assert parameters.max_batch_size.value == sizes[-1]
    assert not parameters.pad_variable_length_inputs
    assert parameters.max_enqueued_batches.value >= 1
    assert parameters.num_batch_threads.value == (3 if file.startswith("config") else 0)


@settings(deadline=None)
@given(st.integers(1, 4096))
def test_batch_sizes_rise_to_any_maximum(most):
    sizes = plan.batch_sizes(most)
    assert sizes == sorted(set(sizes))
    assert (sizes[0], sizes[-1]) == (1, most)


@pytest.mark.parametrize("version", ["1.27", "1.31", "1.34"])
def test_kubernetes_knows_the_manifests(written, version):
    kinds = []
    for path in [*written.glob("kubernetes/base/*.yaml"), written / "kubernetes/loader.yaml"]:
        manifest = yaml.safe_load(path.read_text("utf-8"))
        if manifest["kind"] != "Kustomization":
            kubernetes_validate.validate(manifest, version, strict=True)
            kinds.append(manifest["kind"])
    assert sorted(kinds) == [
        *("ConfigMap", "Deployment", "HorizontalPodAutoscaler", "PersistentVolumeClaim"),
        *("Pod", "PodDisruptionBudget", "Service"),
    ]


def test_the_overlay_adds_a_gpu(written):
    base = yaml.safe_load((written / "kubernetes/base/deployment.yaml").read_text("utf-8"))
    patch = yaml.safe_load((written / "kubernetes/gpu/patch.yaml").read_text("utf-8"))
    merged = overlaid(base, patch)
    kubernetes_validate.validate(merged, "1.31", strict=True)
    limits = merged["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == "1"
    assert limits["cpu"] == "3"
    top = yaml.safe_load((written / "kubernetes/gpu/kustomization.yaml").read_text("utf-8"))
    assert top["images"] == [{"name": "tensorflow/serving", "newTag": "2.19.1-gpu"}]
    for place in (*top["resources"], *(p["path"] for p in top["patches"])):
        assert (written / "kubernetes/gpu" / place).exists()
    below = yaml.safe_load((written / "kubernetes/base/kustomization.yaml").read_text("utf-8"))
    there = {path.name for path in (written / "kubernetes/base").iterdir()}
    assert {*below["resources"], "kustomization.yaml"} == there


def test_the_parts_of_a_cluster_find_one_another(written):
    folder = written / "kubernetes/base"
    of = {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in folder.glob("*.yaml")}
    template = of["deployment"]["spec"]["template"]
    for selector in (
        of["service"]["spec"]["selector"],
        of["pdb"]["spec"]["selector"]["matchLabels"],
        of["deployment"]["spec"]["selector"]["matchLabels"],
    ):
        assert selector.items() <= template["metadata"]["labels"].items()
    assert of["hpa"]["spec"]["scaleTargetRef"]["name"] == of["deployment"]["metadata"]["name"]
    volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
    claim = volumes["models"]["persistentVolumeClaim"]["claimName"]
    assert claim == of["pvc"]["metadata"]["name"]
    assert volumes["config"]["configMap"]["name"] == of["configmap"]["metadata"]["name"]
    container = template["spec"]["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert {p["targetPort"]: p["port"] for p in of["service"]["spec"]["ports"]} == ports
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"].startswith("/v1/models/loud")
        assert container[probe]["httpGet"]["port"] == "rest"
    requests, limits = container["resources"]["requests"], container["resources"]["limits"]
    assert int(requests["memory"][:-2]) <= int(limits["memory"][:-2])


def test_the_same_flags_and_files_everywhere(written):
    compose = yaml.safe_load((written / "compose.yaml").read_text("utf-8"))
    deployment = yaml.safe_load((written / "kubernetes/base/deployment.yaml").read_text("utf-8"))
    flags = compose["services"]["serving"]["command"]
    assert flags == deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    docker = (written / "Dockerfile").read_text("utf-8")
    assert flags == json.loads(docker[docker.index("\nCMD ") + 5 :])
    assert "--enable_batching=true" in flags
    for flag in flags:
        if "=/config/" in flag:
            assert (written / flag.partition("=/")[2]).is_file()
    data = yaml.safe_load((written / "kubernetes/base/configmap.yaml").read_text("utf-8"))["data"]
    assert data == {path.name: path.read_text("utf-8") for path in written.glob("config/*")}


def test_compose_knows_its_files(written, saved):
    schema = json.loads(
        resources.files(check_jsonschema)
        .joinpath("builtin_schemas", "vendor", "compose-spec.json")
        .read_text("utf-8")
    )
    compose = yaml.safe_load((written / "compose.yaml").read_text("utf-8"))
    gpu = yaml.safe_load((written / "compose.gpu.yaml").read_text("utf-8"))
    for file in (compose, gpu, overlaid(compose, gpu)):
        jsonschema.validate(file, schema)
    device = gpu["services"]["serving"]["deploy"]["resources"]["reservations"]["devices"][0]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert gpu["services"]["serving"]["image"] == "tensorflow/serving:2.19.1-gpu"
    volumes = compose["services"]["serving"]["volumes"]
    assert all(volume["read_only"] for volume in volumes)
    assert [(written / v["source"]).resolve() for v in volumes] == [
        written / "config",
        saved / "loud",
        saved / "writer",
    ]


def test_the_health_check_asks_the_port(written):
    test = yaml.safe_load((written / "compose.yaml").read_text("utf-8"))
    command = test["services"]["serving"]["healthcheck"]["test"]
    assert command[:3] == ["CMD", "bash", "-c"]
    subprocess.run(["bash", "-n", "-c", command[3]], check=True)
    assert "GET /v1/models/loud/metadata HTTP/1.0" in command[3]


def test_the_requests_in_the_readme_are_answered(written, saved):
    found = requests_of((written / "README.md").read_text("utf-8"))
    texts = []
    for address, request in found:
        name = re.search(r"/models/([^/:]+)", address)[1]
        signature = tf.saved_model.load(str(next(saved.glob(f"{name}/[27]")))).signatures[
            request.get("signature_name", "serving_default")
        ]
        specs = signature.structured_input_signature[1]
        instance = request["instances"][0]
        assert instance.keys() == specs.keys()
        signature(**{n: tf.constant([value], specs[n].dtype) for n, value in instance.items()})
        texts.append(instance.get("text") or instance.get("source"))
    assert set(texts) == {"It's *loud*, isn't it? 你好", "Once"}  # the warm-ups of the highest
    assert {"signature_name": "sample", "instances": [{"source": "Once", "temperature": 0.5}]} in [
        request for _, request in found
    ]


def test_the_request_of_a_model_card_is_preferred(tmp_path):
    folder = save(tmp_path / "carded" / "1")
    card = 'x\ncurl -d \'{"instances": [{"text": "It\'s here."}]}\' http://localhost:8501/v1\n'
    (folder / "README.md").write_text(card, "utf-8")
    assert models.read(str(folder)).example() == {"text": "It's here."}


def test_the_readme_speaks_of_these_models(written):
    text = (written / "README.md").read_text("utf-8")
    for part in ("versions: 2 versions: 3", 'key: "canary" value: 3', "kubectl rollout undo"):
        assert part in text
    assert "$" not in re.sub(r"\$\(", "", text)
    assert "Not checked" in text


def test_a_version_that_is_named_is_pinned(saved, tmp_path):
    run(saved / "loud" / "1", "--output", tmp_path / "d")
    served = models_of((tmp_path / "d/config/models.config").read_text("utf-8"))
    policy = served[0].model_version_policy
    assert list(policy.specific.versions) == [1]


def test_a_model_is_named_by_its_folder_wherever_one_stands(saved, tmp_path, monkeypatch):
    for place, model in (("loud", "."), ("loud/2", ".."), ("loud/2", "."), ("writer", "../loud")):
        monkeypatch.chdir(saved / place)
        assert models.read(model).name == "loud"
    run(".", "--output", tmp_path / "x" / ".." / "d")
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters="/:%?#\\")
    | st.just(" "),
    min_size=1,
    max_size=40,
).filter(lambda name: name.isprintable() and name not in (".", ".."))


@settings(deadline=None)  # the first example reads the templates
@given(NAMES)
@example('it\'s $HOME, "100" {x} & 你好')
@example("- true")
def test_any_name_comes_through(name):
    signature = models.Signature("", {name: models.Tensor(models.STRING, (-1,))}, {})
    served = models.Served(
        name=name,
        folder=Path("/m") / name,
        version=1,
        pinned=False,
        path=Path("/m") / name / "1",
        graph=None,
        signatures={"serving_default": signature},
        settings={},
        weights=10**6,
        graph_size=10**5,
        warmup=warmup.Requests(),
        texts={name: name},
    )
    app = plan.app_name(None, [served])
    planned = plan.Plan(app, versions.Release.of("2.19"), [served], 2, {name: 8}, False)
    files = render.files(planned, Path("/d"), "")
    assert re.fullmatch("[a-z]([a-z0-9-]{0,38}[a-z0-9])?", app)
    entry = models_of(files["config/models.config"])[0]
    assert (entry.name, entry.base_path) == (name, f"/models/{name}")
    volume = yaml.safe_load(files["compose.yaml"])["services"]["serving"]["volumes"][1]
    assert interpolated(volume["target"]) == f"/models/{name}"
    assert interpolated(volume["source"]) == f"../m/{name}"
    copy = re.search(r"^COPY --from=model0 (.*)$", files["Dockerfile"], re.M)
    assert json.loads(copy[1]) == [".", f"/models/{name}/"]
    deployment = yaml.safe_load(files["kubernetes/base/deployment.yaml"])
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    path = container["livenessProbe"]["httpGet"]["path"]
    assert unquote(path) == f"/v1/models/{name}"
    address, request = requests_of(files["README.md"])[0]
    assert unquote(address) == f"http://localhost:8501/v1/models/{name}:predict"
    assert request == {"instances": [{name: name}]}
