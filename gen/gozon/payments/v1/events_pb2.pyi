import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from gozon.payments.v1 import payments_pb2 as _payments_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PaymentSucceeded(_message.Message):
    __slots__ = ("order_id", "user_id", "amount", "currency", "paid_at", "account")
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    PAID_AT_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    user_id: str
    amount: int
    currency: str
    paid_at: _timestamp_pb2.Timestamp
    account: _payments_pb2.Account
    def __init__(self, order_id: _Optional[str] = ..., user_id: _Optional[str] = ..., amount: _Optional[int] = ..., currency: _Optional[str] = ..., paid_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., account: _Optional[_Union[_payments_pb2.Account, _Mapping]] = ...) -> None: ...

class PaymentFailed(_message.Message):
    __slots__ = ("order_id", "user_id", "reason", "failed_at")
    class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REASON_UNSPECIFIED: _ClassVar[PaymentFailed.Reason]
        INSUFFICIENT_FUNDS: _ClassVar[PaymentFailed.Reason]
        NO_ACCOUNT: _ClassVar[PaymentFailed.Reason]
        CURRENCY_MISMATCH: _ClassVar[PaymentFailed.Reason]
    REASON_UNSPECIFIED: PaymentFailed.Reason
    INSUFFICIENT_FUNDS: PaymentFailed.Reason
    NO_ACCOUNT: PaymentFailed.Reason
    CURRENCY_MISMATCH: PaymentFailed.Reason
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FAILED_AT_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    user_id: str
    reason: PaymentFailed.Reason
    failed_at: _timestamp_pb2.Timestamp
    def __init__(self, order_id: _Optional[str] = ..., user_id: _Optional[str] = ..., reason: _Optional[_Union[PaymentFailed.Reason, str]] = ..., failed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class PaymentAuthorized(_message.Message):
    __slots__ = ("order_id", "user_id", "amount", "currency", "expires_at", "account")
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    user_id: str
    amount: int
    currency: str
    expires_at: _timestamp_pb2.Timestamp
    account: _payments_pb2.Account
    def __init__(self, order_id: _Optional[str] = ..., user_id: _Optional[str] = ..., amount: _Optional[int] = ..., currency: _Optional[str] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., account: _Optional[_Union[_payments_pb2.Account, _Mapping]] = ...) -> None: ...

class PaymentReleased(_message.Message):
    __slots__ = ("order_id", "user_id", "reason", "released_at", "account")
    class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REASON_UNSPECIFIED: _ClassVar[PaymentReleased.Reason]
        EXPIRED: _ClassVar[PaymentReleased.Reason]
        RELEASED: _ClassVar[PaymentReleased.Reason]
        HOLD_MISMATCH: _ClassVar[PaymentReleased.Reason]
    REASON_UNSPECIFIED: PaymentReleased.Reason
    EXPIRED: PaymentReleased.Reason
    RELEASED: PaymentReleased.Reason
    HOLD_MISMATCH: PaymentReleased.Reason
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    RELEASED_AT_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    user_id: str
    reason: PaymentReleased.Reason
    released_at: _timestamp_pb2.Timestamp
    account: _payments_pb2.Account
    def __init__(self, order_id: _Optional[str] = ..., user_id: _Optional[str] = ..., reason: _Optional[_Union[PaymentReleased.Reason, str]] = ..., released_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., account: _Optional[_Union[_payments_pb2.Account, _Mapping]] = ...) -> None: ...

class PaymentReversed(_message.Message):
    __slots__ = ("order_id", "user_id", "paid", "refunded", "reversed_at", "account")
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    PAID_FIELD_NUMBER: _ClassVar[int]
    REFUNDED_FIELD_NUMBER: _ClassVar[int]
    REVERSED_AT_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    user_id: str
    paid: int
    refunded: int
    reversed_at: _timestamp_pb2.Timestamp
    account: _payments_pb2.Account
    def __init__(self, order_id: _Optional[str] = ..., user_id: _Optional[str] = ..., paid: _Optional[int] = ..., refunded: _Optional[int] = ..., reversed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., account: _Optional[_Union[_payments_pb2.Account, _Mapping]] = ...) -> None: ...

class PaymentRefunded(_message.Message):
    __slots__ = ("refund_id", "order_id", "user_id", "amount", "refunded", "refunded_at", "account")
    REFUND_ID_FIELD_NUMBER: _ClassVar[int]
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    REFUNDED_FIELD_NUMBER: _ClassVar[int]
    REFUNDED_AT_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    refund_id: str
    order_id: str
    user_id: str
    amount: int
    refunded: int
    refunded_at: _timestamp_pb2.Timestamp
    account: _payments_pb2.Account
    def __init__(self, refund_id: _Optional[str] = ..., order_id: _Optional[str] = ..., user_id: _Optional[str] = ..., amount: _Optional[int] = ..., refunded: _Optional[int] = ..., refunded_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., account: _Optional[_Union[_payments_pb2.Account, _Mapping]] = ...) -> None: ...

class RefundFailed(_message.Message):
    __slots__ = ("refund_id", "order_id", "user_id", "failed_at")
    REFUND_ID_FIELD_NUMBER: _ClassVar[int]
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    FAILED_AT_FIELD_NUMBER: _ClassVar[int]
    refund_id: str
    order_id: str
    user_id: str
    failed_at: _timestamp_pb2.Timestamp
    def __init__(self, refund_id: _Optional[str] = ..., order_id: _Optional[str] = ..., user_id: _Optional[str] = ..., failed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class BalanceChanged(_message.Message):
    __slots__ = ("account",)
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    account: _payments_pb2.Account
    def __init__(self, account: _Optional[_Union[_payments_pb2.Account, _Mapping]] = ...) -> None: ...
