"""The generated files as those read them who are to."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)
from tensorflow_serving.config import model_server_config_pb2


def proto(path: Path, message):
    return text_format.Parse(path.read_text("utf-8"), message)


def message(name: str, fields: dict[str, tuple[str, bool]]):
    """Make a message that the package tensorflow-serving-api lacks, from what its .proto says."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", syntax="proto3")
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    made = file.message_type.add(name=name)
    scalars = {"int64": 3, "bool": 8, "string": 9}
    for number, (field, (kind, repeated)) in enumerate(fields.items(), 1):
        added = made.field.add(name=field, number=number, label=3 if repeated else 1)
        if kind in scalars:
            added.type = scalars[kind]
        else:
            added.type, added.type_name = 11, kind
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))()


def batching(path: Path):
    """Read BatchingParameters of servables/tensorflow/session_bundle_config.proto."""
    number = (".google.protobuf.Int64Value", False)
    fields = {
        "max_batch_size": number,
        "batch_timeout_micros": number,
        "max_enqueued_batches": number,
        "num_batch_threads": number,
        "thread_pool_name": (".google.protobuf.StringValue", False),
        "allowed_batch_sizes": ("int64", True),
        "pad_variable_length_inputs": ("bool", False),
    }
    return proto(path, message("BatchingParameters", fields))


def overlaid(below, above):
    """Merge a patch: mappings by key, lists of things with names by name."""
    if isinstance(below, dict) and isinstance(above, dict):
        return {k: overlaid(below.get(k), above.get(k, below.get(k))) for k in {**below, **above}}
    if isinstance(below, list) and all(isinstance(x, dict) and "name" in x for x in above):
        named = {x["name"]: x for x in below}
        return list({**named, **{x["name"]: overlaid(named[x["name"]], x) for x in above}}.values())
    return above


def requests_of(readme: str) -> list[tuple[str, dict]]:
    lines = [line for line in readme.splitlines() if line.startswith("curl -d ")]
    words = [shlex.split(line) for line in lines]
    assert all(len(each) == 4 for each in words)
    return [(each[3], json.loads(each[2])) for each in words]


def models_of(text: str) -> list:
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    return list(config.model_config_list.config)


def interpolated(text: str) -> str:
    """Return a string as Compose does, where no variable is meant."""
    assert "$" not in text.replace("$$", "")
    return text.replace("$$", "$")
