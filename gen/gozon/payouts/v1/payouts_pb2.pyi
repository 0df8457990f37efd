import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import empty_pb2 as _empty_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Payout(_message.Message):
    __slots__ = ("id", "user_id", "status", "amount", "currency", "recipient", "comment", "failure_reason", "provider_reference", "created_at", "updated_at", "deleted_at", "etag")
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATUS_UNSPECIFIED: _ClassVar[Payout.Status]
        PENDING: _ClassVar[Payout.Status]
        PROCESSING: _ClassVar[Payout.Status]
        COMPLETED: _ClassVar[Payout.Status]
        FAILED: _ClassVar[Payout.Status]
        CANCELED: _ClassVar[Payout.Status]
    STATUS_UNSPECIFIED: Payout.Status
    PENDING: Payout.Status
    PROCESSING: Payout.Status
    COMPLETED: Payout.Status
    FAILED: Payout.Status
    CANCELED: Payout.Status
    ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    RECIPIENT_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_REASON_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_REFERENCE_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    DELETED_AT_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    id: str
    user_id: str
    status: Payout.Status
    amount: int
    currency: str
    recipient: Recipient
    comment: str
    failure_reason: str
    provider_reference: str
    created_at: _timestamp_pb2.Timestamp
    updated_at: _timestamp_pb2.Timestamp
    deleted_at: _timestamp_pb2.Timestamp
    etag: str
    def __init__(self, id: _Optional[str] = ..., user_id: _Optional[str] = ..., status: _Optional[_Union[Payout.Status, str]] = ..., amount: _Optional[int] = ..., currency: _Optional[str] = ..., recipient: _Optional[_Union[Recipient, _Mapping]] = ..., comment: _Optional[str] = ..., failure_reason: _Optional[str] = ..., provider_reference: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., updated_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., deleted_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., etag: _Optional[str] = ...) -> None: ...

class Recipient(_message.Message):
    __slots__ = ("type", "card", "bank_account", "phone")
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        TYPE_UNSPECIFIED: _ClassVar[Recipient.Type]
        CARD: _ClassVar[Recipient.Type]
        BANK_ACCOUNT: _ClassVar[Recipient.Type]
        PHONE: _ClassVar[Recipient.Type]
    TYPE_UNSPECIFIED: Recipient.Type
    CARD: Recipient.Type
    BANK_ACCOUNT: Recipient.Type
    PHONE: Recipient.Type
    TYPE_FIELD_NUMBER: _ClassVar[int]
    CARD_FIELD_NUMBER: _ClassVar[int]
    BANK_ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    PHONE_FIELD_NUMBER: _ClassVar[int]
    type: Recipient.Type
    card: Card
    bank_account: BankAccount
    phone: Phone
    def __init__(self, type: _Optional[_Union[Recipient.Type, str]] = ..., card: _Optional[_Union[Card, _Mapping]] = ..., bank_account: _Optional[_Union[BankAccount, _Mapping]] = ..., phone: _Optional[_Union[Phone, _Mapping]] = ...) -> None: ...

class Card(_message.Message):
    __slots__ = ("number",)
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    number: str
    def __init__(self, number: _Optional[str] = ...) -> None: ...

class BankAccount(_message.Message):
    __slots__ = ("iban", "holder_name")
    IBAN_FIELD_NUMBER: _ClassVar[int]
    HOLDER_NAME_FIELD_NUMBER: _ClassVar[int]
    iban: str
    holder_name: str
    def __init__(self, iban: _Optional[str] = ..., holder_name: _Optional[str] = ...) -> None: ...

class Phone(_message.Message):
    __slots__ = ("number",)
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    number: str
    def __init__(self, number: _Optional[str] = ...) -> None: ...

class CreatePayoutRequest(_message.Message):
    __slots__ = ("amount", "currency", "recipient", "comment")
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    RECIPIENT_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    amount: int
    currency: str
    recipient: Recipient
    comment: str
    def __init__(self, amount: _Optional[int] = ..., currency: _Optional[str] = ..., recipient: _Optional[_Union[Recipient, _Mapping]] = ..., comment: _Optional[str] = ...) -> None: ...

class ListPayoutsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "status", "recipient_type", "user_id", "show_deleted")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    RECIPIENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    SHOW_DELETED_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    status: Payout.Status
    recipient_type: Recipient.Type
    user_id: str
    show_deleted: bool
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., status: _Optional[_Union[Payout.Status, str]] = ..., recipient_type: _Optional[_Union[Recipient.Type, str]] = ..., user_id: _Optional[str] = ..., show_deleted: _Optional[bool] = ...) -> None: ...

class ListPayoutsResponse(_message.Message):
    __slots__ = ("payouts", "next_page_token")
    PAYOUTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    payouts: _containers.RepeatedCompositeFieldContainer[Payout]
    next_page_token: str
    def __init__(self, payouts: _Optional[_Iterable[_Union[Payout, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetPayoutRequest(_message.Message):
    __slots__ = ("payout_id",)
    PAYOUT_ID_FIELD_NUMBER: _ClassVar[int]
    payout_id: str
    def __init__(self, payout_id: _Optional[str] = ...) -> None: ...

class UpdatePayoutRequest(_message.Message):
    __slots__ = ("payout_id", "comment", "status", "failure_reason", "update_mask", "etag")
    PAYOUT_ID_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    FAILURE_REASON_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    payout_id: str
    comment: str
    status: Payout.Status
    failure_reason: str
    update_mask: _field_mask_pb2.FieldMask
    etag: str
    def __init__(self, payout_id: _Optional[str] = ..., comment: _Optional[str] = ..., status: _Optional[_Union[Payout.Status, str]] = ..., failure_reason: _Optional[str] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., etag: _Optional[str] = ...) -> None: ...

class DeletePayoutRequest(_message.Message):
    __slots__ = ("payout_id",)
    PAYOUT_ID_FIELD_NUMBER: _ClassVar[int]
    payout_id: str
    def __init__(self, payout_id: _Optional[str] = ...) -> None: ...

class StartPayoutRequest(_message.Message):
    __slots__ = ("payout_id",)
    PAYOUT_ID_FIELD_NUMBER: _ClassVar[int]
    payout_id: str
    def __init__(self, payout_id: _Optional[str] = ...) -> None: ...

class StartPayoutResponse(_message.Message):
    __slots__ = ("payout", "recipient", "begun_before")
    PAYOUT_FIELD_NUMBER: _ClassVar[int]
    RECIPIENT_FIELD_NUMBER: _ClassVar[int]
    BEGUN_BEFORE_FIELD_NUMBER: _ClassVar[int]
    payout: Payout
    recipient: Recipient
    begun_before: bool
    def __init__(self, payout: _Optional[_Union[Payout, _Mapping]] = ..., recipient: _Optional[_Union[Recipient, _Mapping]] = ..., begun_before: _Optional[bool] = ...) -> None: ...

class FinishPayoutRequest(_message.Message):
    __slots__ = ("payout_id", "status", "failure_reason", "provider_reference")
    PAYOUT_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    FAILURE_REASON_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_REFERENCE_FIELD_NUMBER: _ClassVar[int]
    payout_id: str
    status: Payout.Status
    failure_reason: str
    provider_reference: str
    def __init__(self, payout_id: _Optional[str] = ..., status: _Optional[_Union[Payout.Status, str]] = ..., failure_reason: _Optional[str] = ..., provider_reference: _Optional[str] = ...) -> None: ...
