"""Exercises and predictions of chapter 20: schema evolution."""

import re
from collections.abc import Callable
from functools import cache
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto
from google.protobuf.message import DecodeError

from redisflow_lab._internal.printable import printable
from redisflow_lab.lab.schema import SchemaError, breaking_changes, compile_proto
from redisflow_lab.lab.workshop.chapter import Chapter
from redisflow_lab.lab.workshop.exercise import Exercise, NotYetError, Wrong, expect
from redisflow_lab.lab.workshop.scene import Scene

V1 = """
syntax = "proto3";
import "google/protobuf/timestamp.proto";

message Order {
  string producer = 1;
  string content = 2;
  google.protobuf.Timestamp created_at = 3;
}
"""
V2 = V1.replace("created_at = 3;", "created_at = 3;\n  optional int32 shipping_cents = 4;")
IN_2023, IN_2025 = {"seconds": 1_699_048_800}, {"seconds": 1_762_207_200}
JSON = b'{"producer": "web", "content": "1 x Emma"}'

compiled: Callable[[str], Any] = cache(compile_proto)


def order(producer: str, book: str, cents: int | None = None) -> bytes:
    """An order of version 1, or of version 2 with its cost of shipping."""
    fields: dict[str, Any] = {"producer": producer, "content": f"1 x {book}"}
    if cents is None:
        sent = compiled(V1)(**fields, created_at=IN_2023)
    else:
        sent = compiled(V2)(**fields, created_at=IN_2025, shipping_cents=cents)
    data: bytes = sent.SerializeToString()
    return data


def write(scene: Scene, *orders: bytes) -> None:
    """The orders, with the ids 1-0, 2-0, ..., and the schemas, which a solution compiles."""
    for number, data in enumerate(orders, start=1):
        scene.redis.xadd(scene.orders, {"data": data}, id=f"{number}-0")
    scene.redis.set(scene.key("schema:1"), V1)
    scene.redis.set(scene.key("schema:2"), V2)


def entries(scene: Scene, stream: str) -> list[tuple[str, bytes | None]]:
    """Id and field `data` of each entry; None for an entry without it."""
    found: Any = scene.redis.xrange(stream)
    return [(entry_id.decode(), fields.get(b"data")) for entry_id, fields in found]


def decoded(schema: Any, entry_id: str, data: bytes | None, command: str) -> Any:
    """The order in an entry. Raises NotYetError if there is none."""
    try:
        return schema.FromString(data)
    except (DecodeError, TypeError):
        raise NotYetError(
            f"Entry {entry_id} is no order ({command}).\n"
            'The bytes of an order, SerializeToString(), belong in the field "data".'
        ) from None


class PassOn(Exercise):
    id = "20-pass-on"
    goal = (
        'The stream task.key("parcels") has every order of task.orders once, oldest '
        'first, with the producer "warehouse" in place of its own. Everything else is kept: '
        "content, created_at, and shipping_cents where it was written."
    )
    given = (
        'task.redis, task.orders (3 orders in the field "data", from old and new producers), '
        "and OrderV1 of this chapter, which is all that the program knows: "
        'task.key("schema:1") has its text.'
    )
    minutes = 4
    hints = (
        "What a program does not know stays with the message object that it decoded.",
        "Change the object that you decoded; make no new one from its values.",
        'Per entry: FromString(fields[b"data"]), set .producer, SerializeToString(), XADD.',
    )
    solution = """
from redisflow_lab.lab.schema import compile_proto

r, text = task.redis, task.redis.get(task.key("schema:1")).decode()
OrderV1 = compile_proto(text)
r.delete(task.key("parcels"))
for entry_id, fields in r.xrange(task.orders):
    order = OrderV1.FromString(fields[b"data"])
    order.producer = "warehouse"  # the same object: it keeps field 4
    r.xadd(task.key("parcels"), {"data": order.SerializeToString()})
""".strip()
    wrong = (
        Wrong(
            "a new message is made from the values",
            """
from redisflow_lab import Message
for _, fields in task.redis.xrange(task.orders):
    old = Message.from_fields(fields)
    new = Message("warehouse", old.content, old.created_at)
    task.redis.xadd(task.key("parcels"), new.to_fields())
""",
            "field 4 is gone",
        ),
        Wrong(
            "the entries are copied as they are",
            """
for _, fields in task.redis.xrange(task.orders):
    task.redis.xadd(task.key("parcels"), fields)
""",
            "comes from 'web'",
        ),
        Wrong(
            "the orders are dated anew",
            """
from redisflow_lab import Message
for _, fields in task.redis.xrange(task.orders):
    new = Message("warehouse", Message.from_fields(fields).content)
    task.redis.xadd(task.key("parcels"), new.to_fields())
""",
            "another created_at",
        ),
        Wrong(
            "the cell was run twice",
            """
from redisflow_lab import Message
for _, fields in 2 * task.redis.xrange(task.orders):
    new = Message("warehouse", Message.from_fields(fields).content)
    task.redis.xadd(task.key("parcels"), new.to_fields())
""",
            "found 6",
        ),
    )
    why = (
        "A decoded message carries the fields that its program does not know, as long as the "
        "program changes that object and builds no new one."
    )

    def set(self, scene: Scene) -> None:
        write(scene, *self._orders())

    def is_attempted(self, scene: Scene) -> bool:
        return bool(scene.redis.exists(scene.key("parcels"))) or (
            scene.redis.xlen(scene.orders) != len(self._orders())
        )

    def check(self, scene: Scene) -> None:
        parcels = scene.key("parcels")
        command = f"XRANGE {parcels} - +"
        kind = scene.redis.type(parcels)
        if kind not in (b"stream", b"none"):
            raise NotYetError(f"{parcels} is no stream (TYPE {parcels}). Write with XADD.")
        found = entries(scene, parcels) if kind == b"stream" else []
        expect(
            3, len(found), "orders in parcels", f"XLEN {parcels}",
            "Did the cell run twice? DEL that stream first." if len(found) > 3
            else "Each order of task.orders has to arrive there.",
        )  # fmt: skip
        for was, (entry_id, data) in zip(self._orders(), found, strict=True):
            now = decoded(compiled(V2), entry_id, data, command)
            self._compare(compiled(V2).FromString(was), now, f"{entry_id} ({command})")

    def _orders(self) -> tuple[bytes, ...]:
        return order("web", "Dune"), order("web", "Ulysses", 450), order("web", "Emma", 0)

    def _compare(self, was: Any, now: Any, where: str) -> None:
        if now.content != was.content:
            raise NotYetError(
                f"Expected {was.content!r}, found {printable(repr(now.content), 60)} in "
                f"{where}.\nThe orders have to arrive in the order of their ids."
            )
        if now.producer != "warehouse":
            raise NotYetError(
                f"{was.content!r} comes from {printable(repr(now.producer), 60)}, and not from "
                f"'warehouse', in {where}.\n"
                "Who decodes the order, sets its producer, and encodes it again?"
            )
        if now.created_at != was.created_at:
            raise NotYetError(
                f"{was.content!r} has another created_at in {where}.\n"
                "What does a new message take for the time when it is given none?"
            )
        if was.HasField("shipping_cents") and not now.HasField("shipping_cents"):
            raise NotYetError(
                f"{was.content!r} cost {was.shipping_cents} cents of shipping, and in {where} "
                "its field 4 is gone.\n"
                "Where does a program keep a field that it does not know?"
            )
        if was.HasField("shipping_cents") != now.HasField("shipping_cents") or (
            was.shipping_cents != now.shipping_cents
        ):
            was_it = was.shipping_cents if was.HasField("shipping_cents") else "never written"
            raise NotYetError(
                f"The shipping of {was.content!r} was {was_it}, and is {now.shipping_cents} in "
                f"{where}.\nDoes your program write a field that the order did not have?"
            )


class BillEachVersion(Exercise):
    id = "20-bill-each-version"
    goal = (
        "The group billing has acknowledged all four entries. Each order has one invoice in "
        'task.invoices, such as "1 x Dune, shipping 300": 300 where shipping_cents was never '
        "written, and what it says where it was. What cannot be decoded has no invoice, and "
        'is in the dead-letter stream task.key("orders:dead").'
    )
    given = (
        "task.redis, task.orders, task.invoices, task.worker(name, handler), OrderV2 "
        'of this chapter (task.key("schema:2") has its text). 1-0 and 2-0 are pending with '
        "bob, who has been gone for an hour; 3-0 and 4-0 were never delivered."
    )
    minutes = 5
    extra = True
    hints = (
        "A worker claims what is idle, reads what is new, and dead-letters what it cannot "
        "decode. What is left to you is the handler.",
        "The handler gets a Message, which knows version 1. delivery.message.to_bytes() has "
        "all fields: decode them again with OrderV2.",
        'HasField("shipping_cents") tells 0 from never written. Then task.worker("alice", '
        "bill), and wait for 3 acknowledged orders.",
    )
    solution = """
from redisflow_lab.lab.schema import compile_proto

OrderV2 = compile_proto(task.redis.get(task.key("schema:2")).decode())

def bill(delivery):
    order = OrderV2.FromString(delivery.message.to_bytes())
    is_new = order.HasField("shipping_cents")
    cents = order.shipping_cents if is_new else 300
    task.redis.rpush(task.invoices, f"{order.content}, shipping {cents}")

task.worker("alice", bill).wait_for("acked", 3)
""".strip()
    _handler = """
from redisflow_lab.lab.schema import compile_proto
OrderV2 = compile_proto(task.redis.get(task.key("schema:2")).decode())
def cents_of(order):
    return order.shipping_cents if order.HasField("shipping_cents") else 300
def bill(delivery):
    order = OrderV2.FromString(delivery.message.to_bytes())
    task.redis.rpush(task.invoices, f"{order.content}, shipping {cents_of(order)}")
"""
    wrong = (
        Wrong(
            "the value is taken as it is",
            _handler
            + """
def cents_of(order):
    return order.shipping_cents
task.worker("alice", bill).wait_for("acked", 3)
""",
            "a field that was never written reads as 0",
        ),
        Wrong(
            "zero is taken for missing",
            _handler
            + """
def cents_of(order):
    return order.shipping_cents or 300
task.worker("alice", bill).wait_for("acked", 3)
""",
            "was written, and free",
        ),
        Wrong(
            "only new entries are read",
            """
found = task.redis.xreadgroup("billing", "alice", {task.orders: ">"})
for entry_id, fields in found[0][1]:
    if entry_id == b"4-0":
        task.redis.rpush(task.invoices, "1 x Beloved, shipping 0")
    else:
        task.redis.xadd(task.key("orders:dead"), fields)
    task.redis.xack(task.orders, "billing", entry_id)
""",
            "still pending with bob",
        ),
        Wrong(
            "what cannot be decoded is acknowledged and forgotten",
            _handler
            + """
task.worker("alice", bill).wait_for("acked", 3)
task.redis.delete(task.key("orders:dead"))
""",
            "nothing of it is left",
        ),
        Wrong(
            "an old order is refused, and dead-lettered",
            _handler
            + """
def cents_of(order):
    if not order.HasField("shipping_cents"):
        raise ValueError("no shipping_cents")
    return order.shipping_cents
alice = task.worker("alice", bill, min_idle_ms=20, max_deliveries=2)
alice.wait_for("dead-lettered", 2)
""",
            "a valid order of version 1",
        ),
        Wrong(
            "a version 1 consumer is started",
            """
def bill(delivery):
    task.redis.rpush(task.invoices, f"{delivery.message.content}, shipping 300")
task.worker("alice", bill).wait_for("acked", 3)
""",
            "says 450",
        ),
    )
    why = (
        "The newest consumer reads the oldest entries. It says in code what the absence of a "
        "field means, and leaves to the dead-letter stream what no version can read."
    )
    _cents = {"1-0": ("1 x Dune", 300), "2-0": ("1 x Ulysses", 450), "4-0": ("1 x Beloved", 0)}

    def set(self, scene: Scene) -> None:
        write(
            scene, order("web", "Dune"), order("web", "Ulysses", 450), JSON,
            order("mobile", "Beloved", 0),
        )  # fmt: skip
        redis = scene.redis
        redis.xgroup_create(scene.orders, scene.group, id="0")
        redis.xreadgroup(scene.group, "bob", {scene.orders: ">"}, count=2)
        redis.xclaim(
            scene.orders, scene.group, "bob", 0, ["1-0", "2-0"], idle=3_600_000, justid=True
        )

    def is_attempted(self, scene: Scene) -> bool:
        if scene.redis.exists(scene.invoices, scene.key("orders:dead")):
            return True
        groups: Any = scene.redis.xinfo_groups(scene.orders)
        state = [(g["pending"], g["consumers"], g["last-delivered-id"]) for g in groups]
        return state != [(2, 1, b"2-0")] or any(row.deliveries > 1 for row in scene.pending())

    def check(self, scene: Scene) -> None:
        pending = {row.entry_id: row.consumer for row in scene.pending()}
        for entry_id, (content, cents) in self._cents.items():
            self._check_invoice(scene, entry_id, content, cents, pending)
        self._check_undecodable(scene, pending)
        expect(
            len(self._cents), len(scene.billed()), "invoices", f"LRANGE {scene.invoices} 0 -1",
            "3-0 is no order of any version: who would pay for it?",
        )  # fmt: skip
        command = f"XPENDING {scene.orders} {scene.group}"
        expect(0, len(pending), "pending entries", command, "Acknowledge what is billed.")
        groups: Any = scene.redis.xinfo_groups(scene.orders)
        read = {g["name"]: g["last-delivered-id"] for g in groups}.get(scene.group.encode())
        if read is None or int(read.split(b"-")[0]) < 4:
            raise NotYetError(
                f"The group billing has not read to the end (XINFO GROUPS {scene.orders}).\n"
                "Deliver the entries to a consumer of the group: XREADGROUP."
            )

    def _check_invoice(
        self, scene: Scene, entry_id: str, content: str, cents: int, pending: dict[str, str]
    ) -> None:
        command = f"LRANGE {scene.invoices} 0 -1"
        found = [text for text in scene.billed() if content in text]
        if not found:
            if entry_id in pending:
                meaning = f"{entry_id} is still pending with {printable(pending[entry_id])}. "
                meaning += "Who claims it, or replays it under that name?"
            elif self._dead_letter_of(scene, dict(entries(scene, scene.orders)).get(entry_id)):
                meaning = f"{entry_id} was dead-lettered, and is a valid order of version "
                meaning += f"{'2' if cents != 300 else '1'}. What does the handler refuse?"
            else:
                meaning = f"Who has to be given {entry_id}?"
            expect(1, 0, f"invoice for {content!r}", command, meaning)
        meaning = "Was the cell run twice? Run the cell with exercise(...) to begin anew."
        expect(1, len(found), f"invoice for {content!r}", command, meaning)
        numbers = re.findall(r"-?\d+", found[0].replace(content, ""))
        charged = int(numbers[-1]) if numbers else "none"
        meaning = f"Its field 4 says {cents}. Which version has to decode the order?"
        if charged == "none":
            meaning = 'An invoice says what shipping costs, as in "1 x Dune, shipping 300".'
        elif cents == 300:
            meaning = "It is of version 1, and a field that was never written reads as 0."
        elif cents == 0:
            meaning = "Its shipping was written, and free. What tells a zero from no field?"
        meaning += " To try again, run the cell with exercise(...)."
        expect(cents, charged, f"cents of shipping for {content!r}", command, meaning)

    def _check_undecodable(self, scene: Scene, pending: dict[str, str]) -> None:
        if self._dead_letter_of(scene, JSON):
            return
        dead = scene.key("orders:dead")
        meaning = (
            f"3-0 is still pending with {printable(pending['3-0'])}: a consumer that raises "
            "for it leaves it there."
            if "3-0" in pending
            else "3-0 is not pending, and nothing of it is left. A dead letter carries the "
            "fields of its entry."
        )
        expect(1, 0, "dead letter of 3-0", f"XRANGE {dead} - +", meaning)

    def _dead_letter_of(self, scene: Scene, data: bytes | None) -> bool:
        dead = scene.key("orders:dead")
        if scene.redis.type(dead) != b"stream":
            return False
        found: Any = scene.redis.xrange(dead)
        return any(data in fields.values() for _, fields in found)


class NewNumber(Exercise):
    id = "20-new-number"
    goal = (
        "Shipping costs 300 for everyone again. Store the text of version 3 under "
        'task.key("schema:3"): without shipping_cents, with an optional int32 weight_grams, '
        "so that no reader of any version misreads an order. Then publish one order of "
        'version 3 to task.orders, with the content "1 x Ivanhoe" and weight_grams 900.'
    )
    given = (
        'task.redis, task.orders (an order of version 1 and one of version 2), task.key("schema'
        ':1") and task.key("schema:2") with the texts of both, compile_proto.'
    )
    minutes = 5
    hints = (
        "The number of a field that goes is never used again, by no field.",
        "Replace the line of shipping_cents by two statements: one reserves its number, the "
        "other declares the new field under a number that was never used.",
        "reserved 4; and number 5 for weight_grams. SET the text, compile it, make the "
        'order, and XADD it with its bytes in the field "data".',
    )
    solution = """
from redisflow_lab.lab.schema import compile_proto

text = task.redis.get(task.key("schema:2")).decode()
old = "optional int32 shipping_cents = 4;"
new = "reserved 4; optional int32 weight_grams = 5;"
text = text.replace(old, new)
task.redis.set(task.key("schema:3"), text)
order = compile_proto(text)(producer="web", content="1 x Ivanhoe")
order.weight_grams = 900
order.created_at.GetCurrentTime()
task.redis.xadd(task.orders, {"data": order.SerializeToString()})
""".strip()
    _publish = """
from redisflow_lab.lab.schema import compile_proto
text = task.redis.get(task.key("schema:2")).decode().replace(
    "optional int32 shipping_cents = 4;", LINE)
task.redis.set(task.key("schema:3"), text)
order = compile_proto(text)(producer="web", content="1 x Ivanhoe", weight_grams=900)
task.redis.xadd(task.orders, {"data": order.SerializeToString()})
"""
    wrong = (
        Wrong(
            "the number 4 is used again",
            'LINE = "optional int32 weight_grams = 4;"' + _publish,
            "weighs 450 grams",
        ),
        Wrong(
            "the number 4 is free for the next developer",
            'LINE = "optional int32 weight_grams = 5;"' + _publish,
            "4 is not reserved",
        ),
        Wrong(
            "a reader cannot tell 0 grams from no weight",
            'LINE = "reserved 4; int32 weight_grams = 5;"' + _publish,
            "is not optional",
        ),
        Wrong(
            "nothing was published",
            'LINE = "reserved 4; optional int32 weight_grams = 5;"'
            + _publish.replace("task.redis.xadd(", "print("),
            "Expected a new order",
        ),
        Wrong(
            "the order was written with the old schema",
            'LINE = "reserved 4; optional int32 weight_grams = 5;"'
            + _publish.replace("order.SerializeToString()", "old.SerializeToString()").replace(
                "task.redis.xadd",
                "old = compile_proto(task.redis.get(task.key('schema:2')).decode())(\n"
                "    producer='web', content='1 x Ivanhoe')\n"
                "task.redis.xadd",
            ),
            "has no weight",
        ),
        Wrong(
            "the old field is still there",
            'LINE = "optional int32 shipping_cents = 4; optional int32 weight_grams = 5;"'
            + _publish,
            "still has shipping_cents",
        ),
        Wrong(
            "the weight has another type",
            'LINE = "reserved 4; optional int64 weight_grams = 5;"' + _publish,
            "found int64",
        ),
    )
    why = (
        "The bytes say only numbers, and old bytes stay. A number is used up forever, and the "
        "word reserved keeps it from the next developer."
    )

    def set(self, scene: Scene) -> None:
        write(scene, order("web", "Dune"), order("web", "Ulysses", 450))

    def is_attempted(self, scene: Scene) -> bool:
        return bool(
            scene.redis.exists(scene.key("schema:3")) or scene.redis.xlen(scene.orders) != 2
        )

    def check(self, scene: Scene) -> None:
        schema = self._schema(scene)
        stored = entries(scene, scene.orders)
        command = f"XRANGE {scene.orders} - +"
        old_orders = [entry for entry in stored if entry[0] in ("1-0", "2-0")]
        new_orders = [entry for entry in stored if entry not in old_orders]
        meaning = "Run the cell with exercise(...) again: old orders stay where they are."
        expect(2, len(old_orders), "old orders", command, meaning)
        for entry_id, data in old_orders:
            old = decoded(schema, entry_id, data, command)
            if old.HasField("weight_grams"):
                raise NotYetError(
                    f"To a reader of version 3, entry {entry_id} weighs {old.weight_grams} "
                    f"grams ({command}).\nIts producer never wrote a weight. Which field did "
                    "it write under that number?"
                )
        for version in (V1, V2):
            for broken in breaking_changes(compiled(version).DESCRIPTOR, schema.DESCRIPTOR):
                meaning = (
                    "Which statement keeps a number from being used again?"
                    if "not reserved" in broken
                    else "A number keeps its type and its name."
                )
                raise NotYetError(
                    f"breaking_changes finds: {printable(broken)} "
                    f"(GET {scene.key('schema:3')}).\n{meaning}"
                )
        if not new_orders:
            raise NotYetError(
                f"Expected a new order in the stream, found none (XLEN {scene.orders}).\n"
                "The schema is right. Make an order with it, and XADD it."
            )
        for entry_id, data in new_orders:
            self._check_order(schema, entry_id, data, command)

    def _check_order(
        self, schema: Any, entry_id: str, data: bytes | None, command: str
    ) -> None:
        begin_anew = f"If it is of an earlier try, XDEL it: {entry_id}."
        seen = decoded(compiled(V2), entry_id, data, command)
        if seen.HasField("shipping_cents"):
            raise NotYetError(
                f"A reader of version 2 charges {seen.shipping_cents} cents of shipping for "
                f"entry {entry_id} ({command}).\nUnder which number was the weight written? "
                f"{begin_anew}"
            )
        new = decoded(schema, entry_id, data, command)
        if not new.HasField("weight_grams"):
            raise NotYetError(
                f"Entry {entry_id} has no weight ({command}).\n"
                f"With which schema was it written? {begin_anew}"
            )
        found = (new.content, new.weight_grams)
        expect(("1 x Ivanhoe", 900), found, f"in {entry_id}", command, begin_anew)

    def _schema(self, scene: Scene) -> Any:
        key = scene.key("schema:3")
        command = f"GET {key}"
        text = scene.redis.get(key) if scene.redis.type(key) == b"string" else None
        if not isinstance(text, bytes):
            raise NotYetError(f"Expected the text of a schema, found none ({command}).")
        try:
            schema: Any = compile_proto(text.decode(errors="replace"))
        except SchemaError as error:
            said = str(error).splitlines()
            line = next((line for line in said if line.startswith("schema.proto:")), said[-1])
            raise NotYetError(
                f"protoc does not accept version 3 ({command}): {printable(line)}"
            ) from None
        fields = schema.DESCRIPTOR.fields_by_name
        if "shipping_cents" in fields:
            raise NotYetError(f"Version 3 still has shipping_cents ({command}).")
        weight = fields.get("weight_grams")
        if weight is None or weight.is_repeated:
            raise NotYetError(
                f"Version 3 has no int32 weight_grams ({command}).\n"
                "Declare it in the message Order."
            )
        if weight.type != FieldDescriptor.TYPE_INT32:
            name = FieldDescriptorProto.Type.Name(weight.type).removeprefix("TYPE_").lower()
            raise NotYetError(
                f"Expected int32 as the type of weight_grams, found {name} ({command}).\n"
                "The programs that share a schema agree on the type, too. Store the text "
                "again, and publish the order with it."
            )
        if not weight.has_presence:
            raise NotYetError(
                f"weight_grams is not optional ({command}).\n"
                "How does a reader tell 0 grams from an order without a weight?"
            )
        return schema


CHAPTER = Chapter(
    file="20_schema_evolution.ipynb",
    title="Change a schema while old orders are still out there",
    goal=(
        "Change a schema so that old and new programs read each other, and old entries keep "
        "their meaning."
    ),
    reading=18,
    predicting=3,
    extra=20,
    builds_on=("05", "10", "12"),
    mistakes=(
        "An old reader fails when it meets a field that it does not know.",
        "A field that is missing can be told from one that is zero, whatever the schema says.",
        "A change is safe if the old readers can still parse the bytes.",
        "A number may be used again once the field is deleted.",
        "A field that nobody needs any more can be deleted on any day.",
    ),
    skippable=(
        "What is called extra: a new order from old values, your consumer with version 2, a "
        "task, more ideas, a field that is gone, and the memory."
    ),
    surprise="Bob fails nowhere: he bills the wrong price, and acknowledges.",
    trouble=(
        "The first cell compiles a schema, which takes a second or two. If it fails, "
        "`grpcio-tools` is not installed: `make install`."
    ),
    predictions={
        "20-forward": (
            "A field that the program does not know sounds like one that is dropped. It stays "
            "with the message as an unknown field, and is written again with it."
        ),
        "20-rebuilt": (
            "The unknown field stays with the object that was decoded, not with its values. "
            "The new order was made from three values, and nothing else is in it."
        ),
        "20-zero": (
            "A field that was never written reads as the default, which is 0 here: so Dune and "
            "Emma look like Beloved. HasField counts those where it was written, 0 included."
        ),
        "20-replayed": (
            "The replay brings the oldest orders, and they have no field 4. The old price of "
            "300 is a rule of the old program: it was never in the bytes."
        ),
        "20-persuasion": (
            "Bob does not fail: his program knows three fields and the rule of 300. Persuasion "
            "is billed and acknowledged; only Middlemarch, delivered with it, is still pending."
        ),
        "20-weight": (
            "An error would need a name or a unit in the bytes. They say only: field 4, a "
            "number. The reader believes its own schema."
        ),
        "20-deleted": (
            "To a reader of version 2, a missing field means an order from 2023. It cannot "
            "tell that the field was deleted later because shipping became free."
        ),
    },
    exercises=(PassOn, BillEachVersion, NewNumber),
)
