"""Compile every schema below proto/ into a folder: a serialized descriptor, and a typed stub.

python tools/generate_pb.py redisflow_lab/pb
"""

import sys
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

PROTO = Path(__file__).parent.parent / "proto"
WELL_KNOWN = Path(grpc_tools.__file__).parent / "_proto"


def generate(target: Path) -> None:
    for schema in sorted(PROTO.rglob("*.proto")):
        made = (target / schema.relative_to(PROTO)).with_suffix(".binpb")
        made.parent.mkdir(parents=True, exist_ok=True)
        _protoc(
            f"--descriptor_set_out={made}",
            "--include_imports",  # a descriptor pool of its own has no well-known types yet
            f"--pyi_out={target}",
            str(schema.relative_to(PROTO)),
        )
        # The stub of the module that loads the descriptor. The module is not generated.
        stub = made.with_name(f"{made.stem}_pb2.pyi")
        stub.replace(made.with_suffix(".pyi"))


def _protoc(*arguments: str) -> None:
    if protoc.main(["protoc", f"-I{PROTO}", f"-I{WELL_KNOWN}", *arguments]) != 0:
        sys.exit("protoc rejected a schema; its own message is above")


if __name__ == "__main__":
    generate(Path(sys.argv[1]))
