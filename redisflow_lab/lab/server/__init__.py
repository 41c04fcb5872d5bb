"""Redis servers for the lab: one that you name, one on PATH, the bundled one, or Docker.

interface   what each kind of server offers, and the errors it raises
choice      picks the server, by argument, environment and what is installed
own         a server process on this machine
docker      a server in a container
shared      a server that you name with REDISFLOW_URL and that others may use, too
client      how the lab connects to any of them
private     configuration, start and kill of the lab's own servers, process or container
url_errors  error messages for a REDISFLOW_URL that cannot be used
identity    name and version of a server; refuses those older than Redis 7.0
ports       a free port
guard       cleans up in Docker and on a shared server after the kernel has ended
"""

from redisflow_lab.lab.server.choice import open_server
from redisflow_lab.lab.server.interface import Server, ServerError

__all__ = ["Server", "ServerError", "open_server"]
