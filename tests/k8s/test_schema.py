"""Every object is one that the API server takes, at each version of Kubernetes that is supported."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
from kubernetes_validate import utils

from tests.k8s.manifests import DEPENDENCIES, SUITES, Manifests, Object

# Those that the project maintains (https://kubernetes.io/releases, 2026-11): k8s/README.md names them.
VERSIONS = ("1.35", "1.36", "1.37")
FOLDERS = {**SUITES, "dependencies": DEPENDENCIES, "one node": "k8s/one-node"}

_NAME = {"type": "string", "minLength": 1}
_COUNT = {"type": "integer", "minimum": 0}


def _exactly(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


# What we use of other projects' kinds, as their definitions say: keda.sh/v1alpha1 (KEDA 2.20) and
# mongodbcommunity.mongodb.com/v1 (0.13). Nothing else is allowed, so that a word that is new here is looked up.
_METADATA = {"type": "object", "required": ["name", "namespace"]}
_SCALED_OBJECT = _exactly(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "keda.sh/v1alpha1"},
    kind={"const": "ScaledObject"},
    metadata=_METADATA,
    spec=_exactly(
        ("scaleTargetRef", "triggers"),
        scaleTargetRef=_exactly(("name",), name=_NAME),
        minReplicaCount=_COUNT,
        maxReplicaCount=_COUNT,
        pollingInterval=_COUNT,
        advanced=_exactly(
            horizontalPodAutoscalerConfig=_exactly(
                behavior=_exactly(scaleDown=_exactly(stabilizationWindowSeconds=_COUNT))
            )
        ),
        triggers={
            "type": "array",
            "minItems": 1,
            "items": _exactly(
                ("type", "metadata"),
                type={"const": "nats-jetstream"},
                # All values are strings.
                metadata=_exactly(
                    ("natsServerMonitoringEndpoint", "account", "stream", "consumer", "lagThreshold"),
                    natsServerMonitoringEndpoint={"type": "string", "pattern": r"^[a-z0-9.-]+:\d+$"},
                    account=_NAME,
                    stream=_NAME,
                    consumer=_NAME,
                    lagThreshold={"type": "string", "pattern": r"^\d+$"},
                ),
            ),
        },
    ),
)
_MONGODB = _exactly(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "mongodbcommunity.mongodb.com/v1"},
    kind={"const": "MongoDBCommunity"},
    metadata=_METADATA,
    spec=_exactly(
        ("security", "type", "users"),
        members=_COUNT,
        type={"const": "ReplicaSet"},
        version={"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
        security=_exactly(
            ("authentication",),
            authentication=_exactly(("modes",), modes={"const": ["SCRAM"]}),
            roles={
                "type": "array",
                "items": _exactly(
                    ("db", "privileges", "role"),
                    role=_NAME,
                    db=_NAME,
                    roles={"const": []},
                    privileges={
                        "type": "array",
                        "items": _exactly(
                            ("actions", "resource"),
                            actions={"type": "array", "items": {"type": "string"}},
                            resource=_exactly(
                                ("db", "collection"), db=_NAME, collection={"type": "string", "minLength": 1}
                            ),
                        ),
                    },
                ),
            },
        ),
        additionalMongodConfig={"const": {"security.javascriptEnabled": False}},
        users={
            "type": "array",
            "items": _exactly(
                ("name", "roles", "scramCredentialsSecretName"),
                name=_NAME,
                db=_NAME,
                passwordSecretRef=_exactly(("name",), name=_NAME),
                scramCredentialsSecretName=_NAME,
                roles={"type": "array", "items": _exactly(("name", "db"), name=_NAME, db=_NAME)},
            ),
        },
        statefulSet=_exactly(("spec",), spec={"type": "object"}),
    ),
)
_OTHERS = {"ScaledObject": _SCALED_OBJECT, "MongoDBCommunity": _MONGODB}


@pytest.fixture(scope="module", autouse=True)
def _read_once() -> Iterator[None]:
    """The definitions are megabytes, and read for each object."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "schema_contents", functools.cache(utils.schema_contents))
        yield


def _distinct() -> list[Object]:
    """Each object of any folder once: most are the same in several."""
    found = [one for folder in FOLDERS.values() for one in Manifests.render(folder).objects]
    return list(
        {json.dumps(one, sort_keys=True): one for one in found if one["kind"] not in _OTHERS}.values()
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_it(version: str) -> None:
    for one in _distinct():
        kubernetes_validate.validate(one, version, strict=True)


@pytest.mark.parametrize("folder", FOLDERS.values(), ids=FOLDERS)
def test_keda_and_mongodb_take_theirs(folder: str) -> None:
    for one in Manifests.render(folder).objects:
        if one["kind"] in _OTHERS:
            jsonschema.validate(one, _OTHERS[one["kind"]])


@pytest.mark.parametrize("version", VERSIONS)
def test_a_word_that_is_none_is_refused(version: str) -> None:
    found = Manifests.render(SUITES["production"]).find("Deployment", "email")
    found["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]["grpc"]["servce"] = "alive"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(found, version, strict=True)


def test_a_number_where_keda_wants_text_is_refused() -> None:
    found = Manifests.render(SUITES["production"]).find("ScaledObject", "email")
    found["spec"]["triggers"][0]["metadata"]["lagThreshold"] = 500
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(found, _SCALED_OBJECT)
