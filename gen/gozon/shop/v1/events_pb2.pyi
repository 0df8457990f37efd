from gozon.shop.v1 import shop_pb2 as _shop_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class InventoryChanged(_message.Message):
    __slots__ = ("user_id", "item")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    ITEM_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    item: _shop_pb2.InventoryItem
    def __init__(self, user_id: _Optional[str] = ..., item: _Optional[_Union[_shop_pb2.InventoryItem, _Mapping]] = ...) -> None: ...

class ProductChanged(_message.Message):
    __slots__ = ("product",)
    PRODUCT_FIELD_NUMBER: _ClassVar[int]
    product: _shop_pb2.Product
    def __init__(self, product: _Optional[_Union[_shop_pb2.Product, _Mapping]] = ...) -> None: ...
