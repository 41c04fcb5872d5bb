"""The server room: a server you name, one on this machine, the bundled one, or Docker.

interface  what each of them can do, and how it says that it cannot
choice     which one the lab gets
own        a process on this machine
docker     a container
foreign    somebody else's, by its URL
private    what own and docker have in common
identity, ports, guard: which server it is, a free port, cleaning up
"""

from redisflow_lab.lab.server.choice import open_server
from redisflow_lab.lab.server.interface import Server, ServerError

__all__ = ["Server", "ServerError", "open_server"]
