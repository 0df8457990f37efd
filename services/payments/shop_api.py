"""The RPCs of the shop."""

from typing import Literal

from gozon.shop.v1.shop_pb2 import (
    CreateProductRequest,
    GetInventoryRequest,
    GetProductRequest,
    Inventory,
    InventoryItem,
    ListPopularProductsRequest,
    ListPopularProductsResponse,
    ListProductsRequest,
    ListProductsResponse,
    ListPurchasesRequest,
    ListPurchasesResponse,
    Product,
    Purchase,
    PurchaseProductRequest,
    UpdateProductRequest,
    UseProductRequest,
)
from kit import access, idempotency, pages
from kit.errors import IdempotencyKeyRequired, InvalidArgument, UserNotFound
from kit.ids import canonical
from kit.rpc import Call
from services.payments.domain import DEFAULT_CURRENCY
from services.payments.shop_repository import Change
from services.payments.shop_service import ShopService

RULES = {
    "CreateProduct": access.ADMIN,
    "ListProducts": access.OWN,
    "GetProduct": access.OWN,
    "UpdateProduct": access.ADMIN,
    "PurchaseProduct": access.OWN,
    "UseProduct": access.OWN,
    "GetInventory": access.owner("user_id", UserNotFound),
    "ListPurchases": access.owner("user_id", UserNotFound),
    "ListPopularProducts": access.OWN,
}
DEFAULT_PAGE_SIZE = 20
Field = Literal["name", "description", "price", "is_active"]
UPDATED_FIELDS: frozenset[Field] = frozenset({"name", "description", "price", "is_active"})


class ShopApi:
    """gozon.shop.v1.ShopService."""

    def __init__(self, service: ShopService) -> None:
        self._service = service

    async def create_product(self, request: CreateProductRequest, call: Call) -> Product:
        key = None
        if call.idempotency_key:
            key = idempotency.key_of(call.caller.user_id, "CreateProduct", call.idempotency_key, request)
        new = Product(
            name=request.name,
            description=request.description,
            price=request.price,
            currency=request.currency or DEFAULT_CURRENCY,
            type=request.type,
            is_active=request.is_active if request.HasField("is_active") else True,
        )
        answered = await self._service.create_product(new, key)
        call.created(f"/products/{answered.answer.id}")
        if answered.replayed:
            call.replayed()
        return self._product(answered.answer, call)

    async def list_products(self, request: ListProductsRequest, call: Call) -> ListProductsResponse:
        limit = request.page_size or DEFAULT_PAGE_SIZE
        kind = Product.Type.Name(request.type) if request.type else ""
        is_active = request.is_active if request.HasField("is_active") else None
        before = pages.read_token(request.page_token)
        found = await self._service.list_products(kind, is_active, before, limit + 1)
        products, next_page_token = pages.cut(found, limit)
        return ListProductsResponse(products=products, next_page_token=next_page_token)

    async def get_product(self, request: GetProductRequest, call: Call) -> Product:
        return self._product(await self._service.get_product(canonical(request.product_id)), call)

    async def update_product(self, request: UpdateProductRequest, call: Call) -> Product:
        product_id, etag = canonical(request.product_id), request.etag or call.if_match
        product = await self._service.update_product(product_id, call.caller, _change(request), etag)
        return self._product(product, call)

    async def purchase_product(self, request: PurchaseProductRequest, call: Call) -> Purchase:
        product_id, quantity, key = _asked("PurchaseProduct", request, call)
        user_id = call.caller.user_id
        answered = await self._service.purchase_product(product_id, quantity, user_id, key)
        call.created(f"/users/{user_id}/purchases")
        if answered.replayed:
            call.replayed()
        return answered.answer

    async def use_product(self, request: UseProductRequest, call: Call) -> InventoryItem:
        product_id, quantity, key = _asked("UseProduct", request, call)
        answered = await self._service.use_product(product_id, quantity, call.caller.user_id, key)
        if answered.replayed:
            call.replayed()
        return answered.answer

    async def get_inventory(self, request: GetInventoryRequest, call: Call) -> Inventory:
        return await self._service.get_inventory(canonical(request.user_id))

    async def list_purchases(self, request: ListPurchasesRequest, call: Call) -> ListPurchasesResponse:
        limit = request.page_size or DEFAULT_PAGE_SIZE
        user_id, before = canonical(request.user_id), pages.read_token(request.page_token)
        status = Purchase.Status.Name(request.status) if request.status else ""
        found = await self._service.list_purchases(user_id, status, before, limit + 1)
        purchases, next_page_token = pages.cut(found, limit)
        return ListPurchasesResponse(purchases=purchases, next_page_token=next_page_token)

    async def list_popular_products(
        self, request: ListPopularProductsRequest, call: Call
    ) -> ListPopularProductsResponse:
        return ListPopularProductsResponse(products=await self._service.list_popular_products())

    def _product(self, product: Product, call: Call) -> Product:
        call.etag(product.etag)
        return product


def _asked(
    method: str, request: PurchaseProductRequest | UseProductRequest, call: Call
) -> tuple[str, int, idempotency.Key]:
    """Reads which product it is about, how many of it, and the key. Errors: IdempotencyKeyRequired."""
    if not call.idempotency_key:
        raise IdempotencyKeyRequired
    # In one form, for the same request may be written in several.
    request.product_id = canonical(request.product_id)
    request.quantity = request.quantity if request.HasField("quantity") else 1
    key = idempotency.key_of(call.caller.user_id, method, call.idempotency_key, request)
    return request.product_id, request.quantity, key


def _change(request: UpdateProductRequest) -> Change:
    """Reads what a request changes. Errors: InvalidArgument."""
    paths = set(request.update_mask.paths) or {name for name in UPDATED_FIELDS if request.HasField(name)}
    if not paths <= UPDATED_FIELDS:
        raise InvalidArgument(violations=(("update_mask", "may name name, description, price and is_active"),))
    # A description that is named but not set becomes empty.
    for name in paths - {"description"}:
        if not request.HasField(name):
            raise InvalidArgument(violations=((name, "must be set when update_mask names it"),))
    return Change(
        name=request.name if "name" in paths else None,
        description=request.description if "description" in paths else None,
        price=request.price if "price" in paths else None,
        is_active=request.is_active if "is_active" in paths else None,
    )
