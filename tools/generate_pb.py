"""Generate the Python modules of every schema below proto/ into a folder.

python tools/generate_pb.py redisflow_lab/pb
"""

import sys
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

PROTO = Path(__file__).parent.parent / "proto"


def generate(target: Path) -> None:
    schemas = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    options = [f"-I{PROTO}", f"-I{well_known}", f"--python_out={target}", f"--pyi_out={target}"]
    if protoc.main(["protoc", *options, *schemas]) != 0:
        sys.exit("protoc rejected a schema; its own message is above")


if __name__ == "__main__":
    generate(Path(sys.argv[1]))
