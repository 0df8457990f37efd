import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import empty_pb2 as _empty_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetSystemRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class System(_message.Message):
    __slots__ = ("observed_at", "processes", "backlogs", "consumers", "audit")
    OBSERVED_AT_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    BACKLOGS_FIELD_NUMBER: _ClassVar[int]
    CONSUMERS_FIELD_NUMBER: _ClassVar[int]
    AUDIT_FIELD_NUMBER: _ClassVar[int]
    observed_at: _timestamp_pb2.Timestamp
    processes: _containers.RepeatedCompositeFieldContainer[Process]
    backlogs: _containers.RepeatedCompositeFieldContainer[Backlog]
    consumers: _containers.RepeatedCompositeFieldContainer[Consumer]
    audit: Audit
    def __init__(self, observed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., processes: _Optional[_Iterable[_Union[Process, _Mapping]]] = ..., backlogs: _Optional[_Iterable[_Union[Backlog, _Mapping]]] = ..., consumers: _Optional[_Iterable[_Union[Consumer, _Mapping]]] = ..., audit: _Optional[_Union[Audit, _Mapping]] = ...) -> None: ...

class Process(_message.Message):
    __slots__ = ("name", "instance", "state", "started_at", "cpu_seconds", "resident_bytes", "orders", "sockets")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Process.State]
        UP: _ClassVar[Process.State]
        DOWN: _ClassVar[Process.State]
    STATE_UNSPECIFIED: Process.State
    UP: Process.State
    DOWN: Process.State
    NAME_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    CPU_SECONDS_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    ORDERS_FIELD_NUMBER: _ClassVar[int]
    SOCKETS_FIELD_NUMBER: _ClassVar[int]
    name: str
    instance: str
    state: Process.State
    started_at: _timestamp_pb2.Timestamp
    cpu_seconds: float
    resident_bytes: int
    orders: OrderCounts
    sockets: int
    def __init__(self, name: _Optional[str] = ..., instance: _Optional[str] = ..., state: _Optional[_Union[Process.State, str]] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., cpu_seconds: _Optional[float] = ..., resident_bytes: _Optional[int] = ..., orders: _Optional[_Union[OrderCounts, _Mapping]] = ..., sockets: _Optional[int] = ...) -> None: ...

class OrderCounts(_message.Message):
    __slots__ = ("created", "authorized", "paid", "shipped", "canceled", "timed", "timed_within")
    CREATED_FIELD_NUMBER: _ClassVar[int]
    AUTHORIZED_FIELD_NUMBER: _ClassVar[int]
    PAID_FIELD_NUMBER: _ClassVar[int]
    SHIPPED_FIELD_NUMBER: _ClassVar[int]
    CANCELED_FIELD_NUMBER: _ClassVar[int]
    TIMED_FIELD_NUMBER: _ClassVar[int]
    TIMED_WITHIN_FIELD_NUMBER: _ClassVar[int]
    created: int
    authorized: int
    paid: int
    shipped: int
    canceled: int
    timed: int
    timed_within: _containers.RepeatedCompositeFieldContainer[TimedOrders]
    def __init__(self, created: _Optional[int] = ..., authorized: _Optional[int] = ..., paid: _Optional[int] = ..., shipped: _Optional[int] = ..., canceled: _Optional[int] = ..., timed: _Optional[int] = ..., timed_within: _Optional[_Iterable[_Union[TimedOrders, _Mapping]]] = ...) -> None: ...

class TimedOrders(_message.Message):
    __slots__ = ("seconds", "orders")
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    ORDERS_FIELD_NUMBER: _ClassVar[int]
    seconds: float
    orders: int
    def __init__(self, seconds: _Optional[float] = ..., orders: _Optional[int] = ...) -> None: ...

class Backlog(_message.Message):
    __slots__ = ("service", "outbox_age_seconds", "dead_letters")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    OUTBOX_AGE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    DEAD_LETTERS_FIELD_NUMBER: _ClassVar[int]
    service: str
    outbox_age_seconds: float
    dead_letters: int
    def __init__(self, service: _Optional[str] = ..., outbox_age_seconds: _Optional[float] = ..., dead_letters: _Optional[int] = ...) -> None: ...

class Consumer(_message.Message):
    __slots__ = ("name", "lag")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LAG_FIELD_NUMBER: _ClassVar[int]
    name: str
    lag: int
    def __init__(self, name: _Optional[str] = ..., lag: _Optional[int] = ...) -> None: ...

class Audit(_message.Message):
    __slots__ = ("state", "finished_at", "seconds", "orders", "transactions", "rules")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Audit.State]
        DISABLED: _ClassVar[Audit.State]
        UNKNOWN: _ClassVar[Audit.State]
        HOLDS: _ClassVar[Audit.State]
        BROKEN: _ClassVar[Audit.State]
    STATE_UNSPECIFIED: Audit.State
    DISABLED: Audit.State
    UNKNOWN: Audit.State
    HOLDS: Audit.State
    BROKEN: Audit.State
    STATE_FIELD_NUMBER: _ClassVar[int]
    FINISHED_AT_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    ORDERS_FIELD_NUMBER: _ClassVar[int]
    TRANSACTIONS_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    state: Audit.State
    finished_at: _timestamp_pb2.Timestamp
    seconds: float
    orders: int
    transactions: int
    rules: _containers.RepeatedCompositeFieldContainer[AuditRule]
    def __init__(self, state: _Optional[_Union[Audit.State, str]] = ..., finished_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., seconds: _Optional[float] = ..., orders: _Optional[int] = ..., transactions: _Optional[int] = ..., rules: _Optional[_Iterable[_Union[AuditRule, _Mapping]]] = ...) -> None: ...

class AuditRule(_message.Message):
    __slots__ = ("rule", "guarantee", "broken")
    class Guarantee(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        GUARANTEE_UNSPECIFIED: _ClassVar[AuditRule.Guarantee]
        NOTHING_LOST: _ClassVar[AuditRule.Guarantee]
        PAID_ONCE: _ClassVar[AuditRule.Guarantee]
        BOOKS_BALANCE: _ClassVar[AuditRule.Guarantee]
    GUARANTEE_UNSPECIFIED: AuditRule.Guarantee
    NOTHING_LOST: AuditRule.Guarantee
    PAID_ONCE: AuditRule.Guarantee
    BOOKS_BALANCE: AuditRule.Guarantee
    RULE_FIELD_NUMBER: _ClassVar[int]
    GUARANTEE_FIELD_NUMBER: _ClassVar[int]
    BROKEN_FIELD_NUMBER: _ClassVar[int]
    rule: str
    guarantee: AuditRule.Guarantee
    broken: int
    def __init__(self, rule: _Optional[str] = ..., guarantee: _Optional[_Union[AuditRule.Guarantee, str]] = ..., broken: _Optional[int] = ...) -> None: ...

class DeadLetter(_message.Message):
    __slots__ = ("id", "service", "consumer", "event_id", "subject", "error", "failures", "first_failed_at", "died_at", "trace_id")
    ID_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    CONSUMER_FIELD_NUMBER: _ClassVar[int]
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    FIRST_FAILED_AT_FIELD_NUMBER: _ClassVar[int]
    DIED_AT_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    service: str
    consumer: str
    event_id: str
    subject: str
    error: str
    failures: int
    first_failed_at: _timestamp_pb2.Timestamp
    died_at: _timestamp_pb2.Timestamp
    trace_id: str
    def __init__(self, id: _Optional[str] = ..., service: _Optional[str] = ..., consumer: _Optional[str] = ..., event_id: _Optional[str] = ..., subject: _Optional[str] = ..., error: _Optional[str] = ..., failures: _Optional[int] = ..., first_failed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., died_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., trace_id: _Optional[str] = ...) -> None: ...

class ListDeadLettersRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListDeadLettersResponse(_message.Message):
    __slots__ = ("dead_letters", "next_page_token", "silent_services")
    DEAD_LETTERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SILENT_SERVICES_FIELD_NUMBER: _ClassVar[int]
    dead_letters: _containers.RepeatedCompositeFieldContainer[DeadLetter]
    next_page_token: str
    silent_services: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, dead_letters: _Optional[_Iterable[_Union[DeadLetter, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., silent_services: _Optional[_Iterable[str]] = ...) -> None: ...

class ReplayDeadLetterRequest(_message.Message):
    __slots__ = ("dead_letter_id",)
    DEAD_LETTER_ID_FIELD_NUMBER: _ClassVar[int]
    dead_letter_id: str
    def __init__(self, dead_letter_id: _Optional[str] = ...) -> None: ...

class DropDeadLetterRequest(_message.Message):
    __slots__ = ("dead_letter_id",)
    DEAD_LETTER_ID_FIELD_NUMBER: _ClassVar[int]
    dead_letter_id: str
    def __init__(self, dead_letter_id: _Optional[str] = ...) -> None: ...
