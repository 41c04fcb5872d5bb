// The partition of a key, as redisflow_lab.partitions.partition_of places it: for producers and
// consumers that are not written in Python.
//
//     node examples/partition_of.js customer-42 12        prints the number of the partition
//     node examples/partition_of.js --check docs/partitions.json
//
// Node 22.2 and newer have zlib.crc32; here it is written out.
"use strict";

function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return (crc ^ 0xffffffff) >>> 0;
}

function partitionOf(key, partitions) {
  return crc32(Buffer.from(key, "utf8")) % partitions;
}

function check(path) {
  const { vectors } = JSON.parse(require("fs").readFileSync(path, "utf8"));
  const wrong = vectors.filter((v) => partitionOf(v.key, v.partitions) !== v.partition);
  console.log(`${vectors.length - wrong.length} of ${vectors.length} keys are where they belong`);
  process.exit(wrong.length ? 1 : 0);
}

if (require.main === module) {
  const [key, partitions] = process.argv.slice(2);
  if (key === "--check") check(partitions);
  console.log(partitionOf(key, Number(partitions)));
}

module.exports = { partitionOf };
