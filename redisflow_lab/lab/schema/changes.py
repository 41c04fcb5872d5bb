"""Find the changes between two versions of a message that break what is in streams already."""

from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor, EnumDescriptor

from redisflow_lab.lab.schema.numbers import Numbers, numbers_of, type_of


def breaking_changes(old: Descriptor, new: Descriptor) -> list[str]:
    """Changes that break a reader of `new` for old bytes, or a reader of `old` for new bytes.

    - The number of a field keeps its name, type, cardinality, oneof and default forever, and
      the number of an enum value keeps its name. The bytes contain no names, but a changed
      name is the only sign of a changed meaning that a program can see.
    - The number of a removed field or enum value is reserved, and stays reserved.
    - A required field is neither added nor removed.

    Empty if there are none. Compares the message, and each message and enum below it, but
    no extensions. Compare `new` with each released version, not only with the last one.

    This is stricter than the rules WIRE of `buf breaking`, which accept another name, and
    another type with the same encoding: but a reader of bool finds true where 450 cents were
    written. https://protobuf.dev/programming-guides/proto3/#updating
    """
    found = []
    for was, now in _types(old, new):
        place = "" if was is old else f"{was.full_name}: "
        found += [place + change for change in _changes(numbers_of(was), numbers_of(now))]
    return found


def _changes(old: Numbers, new: Numbers) -> list[str]:
    """Of one message or enum, without those below it."""
    found = []
    for number, lines in sorted(old.lines.items()):
        declared = new.lines.get(number, set())
        for line in sorted(lines - declared):
            if declared:
                found.append(f"{line} became {' and '.join(sorted(declared))}")
            elif number in old.required:
                found.append(f"{line} is gone, and a reader of the old schema requires it")
            elif not new.reserves(range(number, number + 1)):
                found.append(f"{line} is gone, and {number} is not reserved")
    for number in sorted(new.required - old.lines.keys()):
        (line,) = new.lines[number]
        found.append(f"{line} is new, and is missing in old bytes")
    for span in old.reserved:
        if not new.reserves(span):
            numbers = f"{span[0]}" if len(span) == 1 else f"{span[0]} to {span[-1]}"
            found.append(f"reserved {numbers} is gone")
    return found


_Type = Descriptor | EnumDescriptor


def _types(old: Descriptor, new: Descriptor) -> Iterator[tuple[_Type, _Type]]:
    """The message, and each message and enum below it that kept its name; once each."""
    pairs: list[tuple[_Type, _Type]] = [(old, new)]
    seen = {old.full_name}
    for was, now in pairs:  # which grows meanwhile
        yield was, now
        if isinstance(was, Descriptor) and isinstance(now, Descriptor):
            for number, field in was.fields_by_number.items():
                other = now.fields_by_number.get(number)
                before, after = type_of(field), other and type_of(other)
                if before and after and before.full_name == after.full_name not in seen:
                    seen.add(before.full_name)
                    pairs.append((before, after))
