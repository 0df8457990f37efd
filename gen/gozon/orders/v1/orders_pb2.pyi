import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Order(_message.Message):
    __slots__ = ("id", "user_id", "status", "cancel_reason", "items", "description", "total_price", "currency", "created_at", "updated_at", "capture", "paid_price", "refunded_price", "etag", "processed_at")
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATUS_UNSPECIFIED: _ClassVar[Order.Status]
        PENDING: _ClassVar[Order.Status]
        PAID: _ClassVar[Order.Status]
        CANCELED: _ClassVar[Order.Status]
        AUTHORIZED: _ClassVar[Order.Status]
        SHIPPED: _ClassVar[Order.Status]
    STATUS_UNSPECIFIED: Order.Status
    PENDING: Order.Status
    PAID: Order.Status
    CANCELED: Order.Status
    AUTHORIZED: Order.Status
    SHIPPED: Order.Status
    class CancelReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        CANCEL_REASON_UNSPECIFIED: _ClassVar[Order.CancelReason]
        INSUFFICIENT_FUNDS: _ClassVar[Order.CancelReason]
        NO_ACCOUNT: _ClassVar[Order.CancelReason]
        CURRENCY_MISMATCH: _ClassVar[Order.CancelReason]
        REQUESTED: _ClassVar[Order.CancelReason]
        EXPIRED: _ClassVar[Order.CancelReason]
        RELEASED: _ClassVar[Order.CancelReason]
        HOLD_MISMATCH: _ClassVar[Order.CancelReason]
    CANCEL_REASON_UNSPECIFIED: Order.CancelReason
    INSUFFICIENT_FUNDS: Order.CancelReason
    NO_ACCOUNT: Order.CancelReason
    CURRENCY_MISMATCH: Order.CancelReason
    REQUESTED: Order.CancelReason
    EXPIRED: Order.CancelReason
    RELEASED: Order.CancelReason
    HOLD_MISMATCH: Order.CancelReason
    class Capture(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        CAPTURE_UNSPECIFIED: _ClassVar[Order.Capture]
        AUTOMATIC: _ClassVar[Order.Capture]
        MANUAL: _ClassVar[Order.Capture]
    CAPTURE_UNSPECIFIED: Order.Capture
    AUTOMATIC: Order.Capture
    MANUAL: Order.Capture
    ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CANCEL_REASON_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    TOTAL_PRICE_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    CAPTURE_FIELD_NUMBER: _ClassVar[int]
    PAID_PRICE_FIELD_NUMBER: _ClassVar[int]
    REFUNDED_PRICE_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    PROCESSED_AT_FIELD_NUMBER: _ClassVar[int]
    id: str
    user_id: str
    status: Order.Status
    cancel_reason: Order.CancelReason
    items: _containers.RepeatedCompositeFieldContainer[OrderItem]
    description: str
    total_price: int
    currency: str
    created_at: _timestamp_pb2.Timestamp
    updated_at: _timestamp_pb2.Timestamp
    capture: Order.Capture
    paid_price: int
    refunded_price: int
    etag: str
    processed_at: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., user_id: _Optional[str] = ..., status: _Optional[_Union[Order.Status, str]] = ..., cancel_reason: _Optional[_Union[Order.CancelReason, str]] = ..., items: _Optional[_Iterable[_Union[OrderItem, _Mapping]]] = ..., description: _Optional[str] = ..., total_price: _Optional[int] = ..., currency: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., updated_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., capture: _Optional[_Union[Order.Capture, str]] = ..., paid_price: _Optional[int] = ..., refunded_price: _Optional[int] = ..., etag: _Optional[str] = ..., processed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class OrderItem(_message.Message):
    __slots__ = ("name", "quantity", "price", "product_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    quantity: int
    price: int
    product_id: str
    def __init__(self, name: _Optional[str] = ..., quantity: _Optional[int] = ..., price: _Optional[int] = ..., product_id: _Optional[str] = ...) -> None: ...

class CreateOrderRequest(_message.Message):
    __slots__ = ("items", "amount", "description", "currency", "total_price", "capture")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    TOTAL_PRICE_FIELD_NUMBER: _ClassVar[int]
    CAPTURE_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[OrderItem]
    amount: int
    description: str
    currency: str
    total_price: int
    capture: Order.Capture
    def __init__(self, items: _Optional[_Iterable[_Union[OrderItem, _Mapping]]] = ..., amount: _Optional[int] = ..., description: _Optional[str] = ..., currency: _Optional[str] = ..., total_price: _Optional[int] = ..., capture: _Optional[_Union[Order.Capture, str]] = ...) -> None: ...

class GetOrderRequest(_message.Message):
    __slots__ = ("order_id",)
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    def __init__(self, order_id: _Optional[str] = ...) -> None: ...

class ListOrdersRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "status")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    status: Order.Status
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., status: _Optional[_Union[Order.Status, str]] = ...) -> None: ...

class ListUserOrdersRequest(_message.Message):
    __slots__ = ("user_id", "page_size", "page_token", "status")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    page_size: int
    page_token: str
    status: Order.Status
    def __init__(self, user_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., status: _Optional[_Union[Order.Status, str]] = ...) -> None: ...

class ListOrdersResponse(_message.Message):
    __slots__ = ("orders", "next_page_token")
    ORDERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    orders: _containers.RepeatedCompositeFieldContainer[Order]
    next_page_token: str
    def __init__(self, orders: _Optional[_Iterable[_Union[Order, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchOrderRequest(_message.Message):
    __slots__ = ("order_id",)
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    def __init__(self, order_id: _Optional[str] = ...) -> None: ...

class UpdateOrderRequest(_message.Message):
    __slots__ = ("order_id", "status", "description", "update_mask", "etag")
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    status: Order.Status
    description: str
    update_mask: _field_mask_pb2.FieldMask
    etag: str
    def __init__(self, order_id: _Optional[str] = ..., status: _Optional[_Union[Order.Status, str]] = ..., description: _Optional[str] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., etag: _Optional[str] = ...) -> None: ...

class CancelOrderRequest(_message.Message):
    __slots__ = ("order_id", "etag")
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    etag: str
    def __init__(self, order_id: _Optional[str] = ..., etag: _Optional[str] = ...) -> None: ...

class RefundOrderRequest(_message.Message):
    __slots__ = ("order_id", "amount", "description")
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    amount: int
    description: str
    def __init__(self, order_id: _Optional[str] = ..., amount: _Optional[int] = ..., description: _Optional[str] = ...) -> None: ...

class MarkOrderProcessedRequest(_message.Message):
    __slots__ = ("order_id",)
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    def __init__(self, order_id: _Optional[str] = ...) -> None: ...

class ListOrderHistoryRequest(_message.Message):
    __slots__ = ("order_id",)
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    def __init__(self, order_id: _Optional[str] = ...) -> None: ...

class ListOrderHistoryResponse(_message.Message):
    __slots__ = ("changes",)
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    changes: _containers.RepeatedCompositeFieldContainer[OrderChange]
    def __init__(self, changes: _Optional[_Iterable[_Union[OrderChange, _Mapping]]] = ...) -> None: ...

class OrderChange(_message.Message):
    __slots__ = ("status", "cause", "cancel_reason", "refunded", "description", "actor_id", "changed_at")
    class Cause(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        CAUSE_UNSPECIFIED: _ClassVar[OrderChange.Cause]
        CREATED: _ClassVar[OrderChange.Cause]
        PAYMENT: _ClassVar[OrderChange.Cause]
        OWNER: _ClassVar[OrderChange.Cause]
        ADMIN: _ClassVar[OrderChange.Cause]
        EXPIRY: _ClassVar[OrderChange.Cause]
        PROCESSING: _ClassVar[OrderChange.Cause]
    CAUSE_UNSPECIFIED: OrderChange.Cause
    CREATED: OrderChange.Cause
    PAYMENT: OrderChange.Cause
    OWNER: OrderChange.Cause
    ADMIN: OrderChange.Cause
    EXPIRY: OrderChange.Cause
    PROCESSING: OrderChange.Cause
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    CANCEL_REASON_FIELD_NUMBER: _ClassVar[int]
    REFUNDED_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    ACTOR_ID_FIELD_NUMBER: _ClassVar[int]
    CHANGED_AT_FIELD_NUMBER: _ClassVar[int]
    status: Order.Status
    cause: OrderChange.Cause
    cancel_reason: Order.CancelReason
    refunded: int
    description: str
    actor_id: str
    changed_at: _timestamp_pb2.Timestamp
    def __init__(self, status: _Optional[_Union[Order.Status, str]] = ..., cause: _Optional[_Union[OrderChange.Cause, str]] = ..., cancel_reason: _Optional[_Union[Order.CancelReason, str]] = ..., refunded: _Optional[int] = ..., description: _Optional[str] = ..., actor_id: _Optional[str] = ..., changed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
