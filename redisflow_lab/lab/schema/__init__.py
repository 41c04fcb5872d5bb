"""Compile two versions of a protobuf message, and find incompatible changes."""

from redisflow_lab.lab.schema.changes import breaking_changes
from redisflow_lab.lab.schema.compiling import SchemaError, compile_proto

__all__ = ["SchemaError", "breaking_changes", "compile_proto"]
