from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Order(_message.Message):
    __slots__ = ("number", "item", "quantity", "total_cents")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    ITEM_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    TOTAL_CENTS_FIELD_NUMBER: _ClassVar[int]
    number: str
    item: str
    quantity: int
    total_cents: int
    def __init__(self, number: _Optional[str] = ..., item: _Optional[str] = ..., quantity: _Optional[int] = ..., total_cents: _Optional[int] = ...) -> None: ...
