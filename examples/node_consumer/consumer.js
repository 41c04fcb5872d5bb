// The consumer of plain_consumer.py in JavaScript, on the same streams and messages.
//
//   npm install
//   node consumer.js --url redis://localhost:6379 --stream orders --group workers \
//     --name w1 --effects effects

import { dirname, join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import protobuf from "protobufjs";
import { createClient, RESP_TYPES } from "redis";

const MIN_IDLE_MS = 5_000;
const MAX_DELIVERIES = 5;
const A_DAY_S = 86_400;

// Without the mark: push the effect and set the mark. One script is one step on the server.
const ONCE = `
if redis.call('SET', KEYS[2], '1', 'NX', 'EX', ARGV[2]) then
  redis.call('RPUSH', KEYS[1], ARGV[1])
end
`;

const text = { type: "string" };
const { values: options } = parseArgs({
  options: { url: text, stream: text, group: text, name: text, effects: text },
});

const here = dirname(fileURLToPath(import.meta.url));
const schema = join(here, "../../proto/redisflow/v1/stream_message.proto");
const root = new protobuf.Root();
root.resolvePath = (_, path) =>
  path.startsWith("google/") ? path : path === schema ? path : join(here, "../../proto", path);
const StreamMessage = (await root.load(schema)).lookupType("redisflow.v1.StreamMessage");

let isStopping = false;
process.on("SIGTERM", () => (isStopping = true));

const client = createClient({ url: options.url, socket: { reconnectStrategy: 100 } });
client.on("error", () => {}); // it connects again by itself
await client.connect();

// Replies are bytes: the value of a field is a message, and no text.
const BINARY = { typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer } };

async function send(...args) {
  const plain = args.map((arg) => (Buffer.isBuffer(arg) ? arg : String(arg)));
  return client.sendCommand(plain, BINARY);
}

async function ensureGroup() {
  try {
    await send("XGROUP", "CREATE", options.stream, options.group, "0", "MKSTREAM");
  } catch (error) {
    if (!error.message.includes("BUSYGROUP")) throw error;
  }
}

// [[id, [name, value, ...] or null], ...]
async function read(start) {
  const reply = await send(
    "XREADGROUP", "GROUP", options.group, options.name,
    "COUNT", 10, "BLOCK", 500, "STREAMS", options.stream, start,
  );
  return reply ? reply[0][1] : [];
}

async function replay() {
  let last = "0";
  let entries;
  while (!isStopping && (entries = await read(last)).length) {
    await work(entries);
    last = entries.at(-1)[0].toString();
  }
}

let cursor = "0-0";
async function claim() {
  const [next, entries] = await send(
    "XAUTOCLAIM", options.stream, options.group, options.name, MIN_IDLE_MS, cursor, "COUNT", 10,
  );
  cursor = next.toString();
  await work(entries);
}

async function work(entries) {
  for (const [id, fields] of entries) {
    if (isStopping) return; // what is left stays pending: it is replayed, or claimed
    try {
      await handle(id, fields);
    } catch (error) {
      if (isConnectionError(error)) throw error;
      console.log(`${id} failed: ${error.message}`);
      await giveUpIfItFailedTooOften(id, fields);
      continue;
    }
    await send("XACK", options.stream, options.group, id);
  }
}

async function handle(id, fields) {
  const data = fields[fields.findIndex((name) => name.toString() === "data") + 1];
  const { content } = StreamMessage.decode(data);
  const mark = `${options.stream}:done:${id}`;
  await send("EVAL", ONCE, 2, options.effects, mark, content, A_DAY_S);
}

async function giveUpIfItFailedTooOften(id, fields) {
  const [row] = await send("XPENDING", options.stream, options.group, id, id, 1);
  if (row && Number(row[3]) >= MAX_DELIVERIES) {
    await client
      .multi()
      .addCommand(["XADD", `${options.stream}:dead`, "*", ...fields])
      .addCommand(["XACK", options.stream, options.group, id])
      .exec();
  }
}

function isConnectionError(error) {
  return !client.isReady || /socket|connect|ECONN|closed/i.test(`${error.name} ${error.message}`);
}

let pauseMs = 100;
while (!isStopping) {
  try {
    await ensureGroup();
    await replay();
    while (!isStopping) {
      await claim();
      await work(await read(">"));
      pauseMs = 100;
    }
  } catch (error) {
    if (!isConnectionError(error)) throw error;
    await pause(pauseMs); // the server is away: wait, longer each time
    pauseMs = Math.min(2 * pauseMs, 2_000);
  }
}
client.destroy();
