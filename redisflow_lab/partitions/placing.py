"""Which partition a key is in, and the streams of the partitions.

Programs in other languages place keys in the same way: `docs/partitions.json` has test vectors.
"""

from binascii import crc32

from redisflow_lab._internal.checks import check_name, check_positive

MAX_PARTITIONS = 1_024


def partition_of(partition_key: str | bytes, partitions: int) -> int:
    """The number of the partition that a key is in, from 0.

    It is the CRC-32 of the key modulo the number of partitions. The CRC-32 is that of zlib,
    gzip and PNG, of the UTF-8 bytes of the key: `zlib.crc32`, `java.util.zip.CRC32`, Go's
    `crc32.ChecksumIEEE`. https://www.w3.org/TR/png-3/#D-CRCAppendix

    Raises ValueError if the key is empty, because then all such messages would share one
    partition, or has no UTF-8 form, and TypeError if it is neither text nor bytes.
    """
    if not isinstance(partition_key, str | bytes):
        kind = type(partition_key).__name__
        raise TypeError(f"partition_key must be text or bytes, not {kind}: {partition_key!r}")
    if not partition_key:
        raise ValueError(
            "partition_key is empty: all such messages would be in one partition. Give what "
            "the order is needed for, such as the number of the customer"
        )
    if type(partitions) is not int or not 1 <= partitions <= MAX_PARTITIONS:
        check_count(partitions)
    try:
        raw = partition_key.encode() if isinstance(partition_key, str) else partition_key
    except UnicodeEncodeError as error:
        raise ValueError(
            f"partition_key has no UTF-8 form at character {error.start}: {partition_key!r:.80}"
        ) from None
    return crc32(raw) % partitions


def check_count(partitions: int) -> None:
    """Raise TypeError or ValueError unless this can be the number of partitions."""
    if check_positive("partitions", partitions) > MAX_PARTITIONS:
        raise ValueError(f"partitions must be at most {MAX_PARTITIONS:,}, not {partitions}")


def partition_streams(stream: str, partitions: int) -> list[str]:
    """The keys of the partitions' streams: "{orders:0}", "{orders:1}", ...

    The braces are a hash tag: whatever belongs to a partition, such as "{orders:0}:dead", is
    in its slot. https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags
    """
    check_name("stream", stream)
    if "{" in stream or "}" in stream:
        raise ValueError(
            f"stream must have no braces, but it is {stream!r}: each partition has a hash tag "
            "of its own, as in {orders:0}"
        )
    check_count(partitions)
    return [f"{{{stream}:{number}}}" for number in range(partitions)]
