"""Nobody else can read what an own server writes, wherever it keeps its data."""

import stat
from pathlib import Path

import pytest

from redisflow_lab.lab import Lab
from redisflow_lab.lab.server import ServerError

pytestmark = pytest.mark.usefixtures("process_server")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("open_to", [0o755, 0o750, 0o711, 0o770])
def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path, open_to: int) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    folder.chmod(open_to)
    with pytest.raises(ServerError, match=rf"data' has mode {open_to:o}.*chmod 700 '"):
        Lab(data_dir=folder)
    assert mode(folder) == open_to
    assert list(folder.iterdir()) == []
    folder.chmod(0o700)
    Lab(data_dir=folder).close()


def test_every_file_of_a_server_is_for_its_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    lab = Lab(data_dir=folder)
    lab.redis.set("a", 1)
    lab.redis.save()
    lab.redis.config_rewrite()
    found = [
        path for path in folder.rglob("*") if path.name not in ("server.log", "server.lock")
    ]
    lab.close()
    assert {"server.conf", "dump.rdb", "appendonlydir"} <= {path.name for path in found}
    assert [path for path in [folder, *found] if mode(path) & 0o077] == []


def test_a_configuration_file_that_others_may_read_is_made_private(tmp_path: Path) -> None:
    Lab(data_dir=tmp_path).close()
    conf = tmp_path / "server.conf"
    conf.chmod(0o644)
    Lab(data_dir=tmp_path).close()
    assert mode(conf) == 0o600
