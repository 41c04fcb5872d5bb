"""Compare `breaking_changes` with the rules of `buf breaking`, over generated schemas.

    pip install buf-bin
    python tools/compare_with_buf.py --pairs 500 --seed 1

Each pair is a random schema and a copy with one or two changes. Prints how often both agree,
and each type of difference with an example. Exits with 1 if `breaking_changes` accepts what a
rule of buf refuses, unless the rule is about names in JSON or in packages, which are not in the
bytes of a stream.
"""

import argparse
import json
import random
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from redisflow_lab.lab.schema import SchemaError, breaking_changes, compile_proto

NOT_IN_THE_BYTES = {
    "FIELD_NO_DELETE_UNLESS_NAME_RESERVED",
    "ENUM_VALUE_NO_DELETE_UNLESS_NAME_RESERVED",
    "FIELD_SAME_JSON_NAME",
    "RESERVED_NAME",  # RESERVED_MESSAGE_NO_DELETE and RESERVED_ENUM_NO_DELETE, of a name
    "FILE_SAME_PACKAGE",
}
SCALARS = [
    "int32", "uint32", "sint32", "int64", "uint64", "sint64", "fixed32", "sfixed64",
    "bool", "string", "bytes", "double", "float",
]  # fmt: skip
TYPES = [*SCALARS, "Line", "Parcel", "Status", "Colour"]
LABELS = {
    "proto3": ["", "optional", "repeated"],
    "proto2": ["optional", "required", "repeated"],
}


@dataclass(frozen=True)
class Field:
    number: int
    name: str
    type: str
    label: str = ""
    options: str = ""
    oneof: str = ""


@dataclass(frozen=True)
class Type:
    """A message, or an enum whose values are `Field`s without a type."""

    name: str
    fields: tuple[Field, ...] = ()
    reserved: tuple[str, ...] = ()


@dataclass(frozen=True)
class Schema:
    syntax: str
    package: str
    messages: tuple[Type, ...] = field(default=())
    enums: tuple[Type, ...] = field(default=())

    def text(self) -> str:
        lines = [f'syntax = "{self.syntax}";', f"package {self.package};"]
        for message in self.messages:
            oneofs = defaultdict(list)
            lines.append(f"message {message.name} {{")
            for one in message.fields:
                line = f"{one.label} {one.type} {one.name} = {one.number}{one.options};"
                (oneofs[one.oneof] if one.oneof else lines).append(line)
            for name, members in oneofs.items():
                lines.append(f"oneof {name} {{ {' '.join(members)} }}")
            lines += [*(f"reserved {span};" for span in message.reserved), "}"]
        for enum in self.enums:
            lines.append(f"enum {enum.name} {{")
            if len({value.number for value in enum.fields}) < len(enum.fields):
                lines.append("option allow_alias = true;")
            lines += [f"{value.name} = {value.number};" for value in enum.fields]
            lines += [*(f"reserved {span};" for span in enum.reserved), "}"]
        return "\n".join(lines)


def some_field(rng: random.Random, syntax: str, number: int) -> Field:
    name, label, kind = f"f{number}", rng.choice(LABELS[syntax]), rng.choice(TYPES)
    chance = rng.random()
    if chance < 0.2:
        key = rng.choice(["string", "int32", "bool"])
        return Field(number, name, f"map<{key}, {kind}>")
    if chance < 0.4:
        return Field(number, name, kind, oneof=rng.choice(["choice", "other"]))
    if syntax == "proto2" and kind == "int32" and label == "optional":
        return Field(number, name, kind, label, f" [default = {rng.randint(0, 2)}]")
    return Field(number, name, kind, label)


def some_schema(rng: random.Random) -> Schema:
    syntax = rng.choice(["proto3", "proto3", "proto2"])
    messages = [
        Type(
            name,
            tuple(some_field(rng, syntax, number) for number in range(1, rng.randint(3, 6))),
            ("20 to 25", '"old"', "30"),
        )
        for name in ("Order", "Line", "Parcel")
    ]
    # So that each type is used, and can be in the bytes of an order.
    used = [
        Field(10 + i, f"u{i}", kind, "repeated")
        for i, kind in enumerate(["Line", "Parcel", "Status", "Colour"])
    ]
    messages[0] = replace(messages[0], fields=(*messages[0].fields, *used))
    enums = [
        Type(
            name,
            tuple(Field(n, f"{name.upper()}_{n}", "") for n in range(rng.randint(3, 5))),
            ("20 to 25", '"OLD"'),
        )
        for name in ("Status", "Colour")
    ]
    return Schema(syntax, "bookshop", tuple(messages), tuple(enums))


def changed(rng: random.Random, schema: Schema) -> Schema:
    """A copy of the schema with one change to a message, an enum or the package."""
    chance = rng.random()
    if chance < 0.02:
        return replace(schema, package="shop")
    kind = "messages" if chance < 0.7 else "enums"
    types = list(getattr(schema, kind))
    at = rng.randrange(len(types))
    change = rng.choice(OF_MESSAGES if kind == "messages" else OF_ENUMS)
    types[at] = change(rng, schema.syntax, types[at])
    return replace(schema, **{kind: tuple(types)})


def with_field(rng: random.Random, declared: Type, change: Callable[[Field], Field]) -> Type:
    fields = list(declared.fields)
    at = rng.randrange(len(fields))
    fields[at] = change(fields[at])
    return replace(declared, fields=tuple(fields))


def removed(rng: random.Random, _: str, declared: Type) -> Type:
    gone = rng.choice(declared.fields[1:])
    notes = [[], [f"{gone.number}"], [f'"{gone.name}"'], [f"{gone.number}", f'"{gone.name}"']]
    return replace(
        declared,
        fields=tuple(one for one in declared.fields if one is not gone),
        reserved=(*declared.reserved, *rng.choice(notes)),
    )


def added(rng: random.Random, syntax: str, declared: Type) -> Type:
    new = some_field(rng, syntax, 9)
    return replace(declared, fields=(*declared.fields, new))


def reserved_no_more(rng: random.Random, _: str, declared: Type) -> Type:
    spans = [
        ("20 to 25", '"old"'),
        ("30", '"old"'),
        ("20 to 30",),
        ("20 to 22", "23 to 30", '"old"'),
    ]
    return replace(declared, reserved=rng.choice(spans))


def renamed(rng: random.Random, _: str, declared: Type) -> Type:
    return with_field(rng, declared, lambda one: replace(one, name=f"{one.name}_new"))


def swapped(rng: random.Random, _: str, declared: Type) -> Type:
    first, second = rng.sample(range(len(declared.fields)), 2)
    fields = list(declared.fields)
    fields[first], fields[second] = (
        replace(fields[first], name=fields[second].name),
        replace(fields[second], name=fields[first].name),
    )
    return replace(declared, fields=tuple(fields))


def other_type(rng: random.Random, _: str, declared: Type) -> Type:
    kind = rng.choice(TYPES)
    return with_field(rng, declared, lambda one: replace(one, type=kind, options=""))


def other_map(rng: random.Random, _: str, declared: Type) -> Type:
    kind = f"map<{rng.choice(['string', 'int32'])}, {rng.choice(TYPES)}>"
    return with_field(
        rng, declared, lambda one: replace(one, type=kind, label="", options="", oneof="")
    )


def other_label(rng: random.Random, syntax: str, declared: Type) -> Type:
    label = rng.choice(LABELS[syntax])
    return with_field(
        rng, declared, lambda one: replace(one, label=label, oneof="", options="")
    )


def other_oneof(rng: random.Random, _: str, declared: Type) -> Type:
    oneof = rng.choice(["choice", "other", "third"])
    return with_field(
        rng, declared, lambda one: replace(one, oneof=oneof, label="", options="")
    )


def other_default(rng: random.Random, _: str, declared: Type) -> Type:
    return with_field(
        rng,
        declared,
        lambda one: replace(one, options=" [default = 7]" if one.options else ""),
    )


def packed(rng: random.Random, _: str, declared: Type) -> Type:
    return with_field(
        rng,
        declared,
        lambda one: (
            replace(one, options=" [packed = true]") if one.label == "repeated" else one
        ),
    )


def other_json_name(rng: random.Random, _: str, declared: Type) -> Type:
    return with_field(rng, declared, lambda one: replace(one, options=' [json_name = "j"]'))


def alias(rng: random.Random, _: str, declared: Type) -> Type:
    one = rng.choice(declared.fields)
    return replace(declared, fields=(*declared.fields, replace(one, name=f"{one.name}_TOO")))


def new_value(rng: random.Random, _: str, declared: Type) -> Type:
    return replace(declared, fields=(*declared.fields, Field(9, f"{declared.name}_NEW", "")))


def reordered(rng: random.Random, _: str, declared: Type) -> Type:
    return replace(declared, fields=tuple(rng.sample(declared.fields, len(declared.fields))))


Change = Callable[[random.Random, str, Type], Type]
OF_MESSAGES: list[Change] = [
    removed, added, reserved_no_more, renamed, swapped, other_type, other_type, other_map,
    other_label, other_oneof, other_default, packed, other_json_name, reordered,
]  # fmt: skip
OF_ENUMS: list[Change] = [
    removed, reserved_no_more, renamed, swapped, alias, new_value, reordered,
]  # fmt: skip


def findings_of_buf(old: str, new: str) -> set[str]:
    """The rules of WIRE and WIRE_JSON that the change breaks."""
    with TemporaryDirectory() as folder:
        for name, text in (("old", old), ("new", new)):
            Path(folder, name).mkdir()
            Path(folder, name, "schema.proto").write_text(text)
        found: set[str] = set()
        for rules in ("WIRE", "WIRE_JSON"):
            config = json.dumps({"version": "v2", "breaking": {"use": [rules]}})
            done = subprocess.run(
                ["buf", "breaking", Path(folder, "new"), "--against", Path(folder, "old"),
                 "--config", config, "--error-format", "json"],
                cwd="/", capture_output=True, text=True,
            )  # fmt: skip
            if done.returncode not in (0, 100):
                raise RuntimeError(done.stderr)
            for line in done.stdout.splitlines():
                finding = json.loads(line)
                rule = finding["type"]
                if rule.startswith("RESERVED") and "reserved name" in finding["message"]:
                    rule = "RESERVED_NAME"
                found.add(rule)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    outcomes: Counter[str] = Counter()
    examples: dict[str, str] = {}
    missed: set[str] = set()
    pairs = 0
    while pairs < given.pairs:
        old = some_schema(rng)
        new = changed(rng, old)
        if rng.random() < 0.3:
            new = changed(rng, new)
        texts = old.text(), new.text()
        try:
            was, now = (compile_proto(text).DESCRIPTOR for text in texts)
        except SchemaError:
            continue  # the change made the schema invalid
        pairs += 1
        ours, theirs = breaking_changes(was, now), findings_of_buf(*texts)
        if bool(ours) == bool(theirs):
            outcome = "both refuse" if ours else "both accept"
        elif theirs:
            outcome = f"only buf refuses: {', '.join(sorted(theirs))}"
            missed |= theirs
        else:
            outcome = "only breaking_changes refuses"
            outcome += f": {' | '.join(kind_of(line) for line in ours)}"
        outcomes[outcome] += 1
        examples.setdefault(outcome, "; ".join(ours) or difference(*texts))
    for outcome, count in outcomes.most_common():
        print(f"{count:5} {outcome}")
        if outcome.startswith("only"):
            print(f"      {examples[outcome]}")
    if wrong := missed - NOT_IN_THE_BYTES:
        sys.exit(
            f"breaking_changes accepts what these rules refuse: {', '.join(sorted(wrong))}"
        )


def kind_of(change: str) -> str:
    """A change without its names and numbers, so that similar ones count as one."""
    if " became " not in change:
        return change.split(" is ", 1)[1] if " is " in change else change
    was, now = (
        side.split(" = ")[0].split(" ") for side in change.split(": ")[-1].split(" became ")
    )
    if len(was) == 1 or was[:-1] == now[:-1]:
        return "another name"
    return f"{' '.join(was[:-1])} became {' '.join(now[:-1])}"


def difference(old: str, new: str) -> str:
    was, now = old.splitlines(), new.splitlines()
    gone = [f"- {line}" for line in was if line not in now]
    return "; ".join([*gone, *(f"+ {line}" for line in now if line not in was)])


if __name__ == "__main__":
    main()
