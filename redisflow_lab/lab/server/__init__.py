"""Redis servers for the lab: one that you name, one on PATH, the bundled one, or Docker.

interface   what each kind of server offers, and the errors it raises
choice      picks the server, by argument, environment and what is installed
own         a server process on this machine
node        one such process, whether the lab has one or several
binary      the program that it runs
docker      a server in a container
shared      a server that you name with REDISFLOW_URL and that others may use, too
client      how the lab connects to any of them
private     configuration, start and kill of the lab's own servers, process or container
url_errors  error messages for a REDISFLOW_URL that cannot be used
identity    name and version of a server; refuses those older than Redis 7.0
ports       free ports
guard       cleans up in Docker and on a shared server after the kernel has ended

A lab with several servers has more:

layout       how many, and of which kind
topology     what a primary with replicas and a cluster have in common
replication  a primary with replicas, and Sentinels
cluster      a Redis Cluster
nodes        the processes, by name
state        what a node says of itself
network      cuts a node off from the others
proxy        the process between them that does it
sentinel_client  how the lab connects to the primary that Sentinels name
"""

from redisflow_lab.lab.server.choice import open_server
from redisflow_lab.lab.server.interface import Server, ServerError

__all__ = ["Server", "ServerError", "open_server"]
