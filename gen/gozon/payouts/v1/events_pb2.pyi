from gozon.payouts.v1 import payouts_pb2 as _payouts_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PayoutRequested(_message.Message):
    __slots__ = ("payout_id", "user_id")
    PAYOUT_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    payout_id: str
    user_id: str
    def __init__(self, payout_id: _Optional[str] = ..., user_id: _Optional[str] = ...) -> None: ...

class PayoutChanged(_message.Message):
    __slots__ = ("payout",)
    PAYOUT_FIELD_NUMBER: _ClassVar[int]
    payout: _payouts_pb2.Payout
    def __init__(self, payout: _Optional[_Union[_payouts_pb2.Payout, _Mapping]] = ...) -> None: ...
