"""docs/deploy against the command line, the routes and the package; and other projects' checks."""

import argparse
import functools
import json
import re
import shlex
import subprocess

import environments
import pytest

from frn_onnx.cli import serve
from frn_onnx.serving.app import build_app
from frn_onnx.serving.metrics import PrometheusMetrics
from frn_onnx.serving.service import Service

ROOT = environments.ROOT
FOLDER = ROOT / "docs" / "deploy"
MANIFEST = FOLDER / "kubernetes.yaml"
# Name of the file -> the image's tag, and the extras that it installs by default.
IMAGES = {
    "Dockerfile": ("frn-onnx:cpu", "cpu,serve"),
    "Dockerfile.cuda": ("frn-onnx:cuda", "gpu,serve"),
}
DOCKERFILES = [FOLDER / name for name in IMAGES]
PATHS = {getattr(route, "path", "") for route in build_app(Service([]), PrometheusMetrics()).routes}


def instructions(path):
    """(name, arguments) of each instruction, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [line.split(None, 1) for line in text.splitlines() if line.strip()]


def argument_of(path, name):
    (found,) = (rest for word, rest in instructions(path) if word == name)
    return found


def parse(command):
    """What ``frn-onnx`` understands, with options in full; ends the test where it does not."""
    parser = argparse.ArgumentParser()
    whole = functools.partial(argparse.ArgumentParser, allow_abbrev=False)
    serve.add_parser(parser.add_subparsers(parser_class=whole))
    return parser.parse_args(command)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_dockerfile(path):
    tag, extras = IMAGES[path.name]
    assert f"docker build -f docs/deploy/{path.name} -t {tag} ." in path.read_text()
    entry, more = (json.loads(argument_of(path, name)) for name in ("ENTRYPOINT", "CMD"))
    assert entry[0] == "frn-onnx"
    args = parse([*entry[1:], *more])
    assert (args.host, args.models) == ("0.0.0.0", ["/models"])
    assert argument_of(path, "EXPOSE") == str(args.port)
    check = json.loads(argument_of(path, "HEALTHCHECK").split("CMD", 1)[1])
    assert check[-1] == f"http://127.0.0.1:{args.port}/v2/health/live"
    assert "/v2/health/live" in PATHS
    assert args.device == ("cuda" if extras.startswith("gpu") else "auto")
    assert argument_of(path, "ARG") == f"EXTRAS={extras}"
    project = (ROOT / "pyproject.toml").read_text()
    for extra in (*extras.split(","), "ray"):
        assert f"\n{extra} = [" in project
    for name, rest in instructions(path):
        if name == "COPY" and not rest.startswith("--from"):
            *sources, _ = shlex.split(rest)
            assert all((ROOT / source).exists() for source in sources), rest
    runs = " ".join(rest for name, rest in instructions(path) if name == "RUN")
    if extras.startswith("gpu"):  # the version that the tests know
        (known,) = (p for p in environments.PACKAGES["onnxruntime-gpu"] if "-gpu==" in p)
        assert known.replace("==", "[cuda,cudnn]==") in runs


def documents():
    """The manifest's documents; read by PyYAML, which is not ours."""
    code = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))"
    return json.loads(environments.run("deploy", "-c", code, MANIFEST))


@pytest.mark.clients
def test_manifest_fits_the_server():
    deployment, service, budget = documents()
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] in {tag for tag, _ in IMAGES.values()}
    entry = json.loads(argument_of(FOLDER / "Dockerfile", "ENTRYPOINT"))
    args = parse([*entry[1:], *container["args"]])
    (port,) = container["ports"]
    assert port["containerPort"] == args.port
    assert service["spec"]["ports"][0]["targetPort"] == port["name"]
    assert str(args.threads) == container["resources"]["requests"]["cpu"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        target = container[probe]["httpGet"]
        assert target["path"] in PATHS
        assert target["port"] == port["name"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/v2/health/live"
    assert container["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"
    (mount,) = container["volumeMounts"]
    assert args.models == [mount["mountPath"]]
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] >= pause + args.grace + 5
    user = argument_of(FOLDER / "Dockerfile", "USER")
    assert str(pod["securityContext"]["runAsUser"]) == user
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == labels
    assert budget["spec"]["selector"]["matchLabels"] == labels
    assert budget["spec"]["minAvailable"] < deployment["spec"]["replicas"]


@pytest.mark.clients
@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint(path):
    hadolint = environments.python("deploy").parent / "hadolint"
    result = subprocess.run([hadolint, path], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (0, "")


@pytest.mark.clients
def test_kubernetes_schema():
    command = ("-c", "from kubernetes_validate.__main__ import main; main()", "--strict", MANIFEST)
    environments.run("deploy", *command)
