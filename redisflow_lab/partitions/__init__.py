"""Partitions: one logical stream as several streams, spread over the shards of a cluster.

placing    which partition a key is in, and which streams there are
counting   the number of partitions, kept beside the streams and checked
ownership  which process reads a partition
state      what each partition holds, and whether it has an active member
producer   PartitionedProducer
consumer   PartitionedConsumer
"""

from redisflow_lab.partitions.consumer import PartitionedConsumer
from redisflow_lab.partitions.counting import PartitionCountError
from redisflow_lab.partitions.ownership import OwnedElsewhereError
from redisflow_lab.partitions.placing import partition_of, partition_streams
from redisflow_lab.partitions.producer import PartitionedProducer, Placed
from redisflow_lab.partitions.state import Partitions, PartitionStatus

__all__ = [
    "OwnedElsewhereError",
    "PartitionCountError",
    "PartitionStatus",
    "PartitionedConsumer",
    "PartitionedProducer",
    "Partitions",
    "Placed",
    "partition_of",
    "partition_streams",
]
