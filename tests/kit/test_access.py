"""kit.access, and that the tables of the services say something of every RPC."""

import pytest
from google.protobuf.descriptor import ServiceDescriptor

from gozon.orders.v1 import orders_pb2
from gozon.payments.v1 import payments_pb2
from gozon.payments.v1.payments_pb2 import GetAccountRequest
from gozon.payouts.v1 import payouts_pb2
from gozon.payouts.v1.payouts_pb2 import ListPayoutsRequest
from gozon.shop.v1 import shop_pb2
from gozon.system.v1 import system_pb2
from gozon.users.v1 import users_pb2
from kit import access
from kit.access import Rule
from kit.auth import Identity
from kit.errors import NotFound, PermissionDenied, UserNotFound, WorkerOnly
from kit.ids import new_id
from services.orders import api as orders
from services.payments import api as payments
from services.payments import payouts_api as payouts
from services.payments import shop_api as shop
from services.system import api as system
from services.users import api as users

TABLES: list[tuple[ServiceDescriptor, dict[str, Rule]]] = [
    (users_pb2.DESCRIPTOR.services_by_name["UsersService"], users.RULES),
    (orders_pb2.DESCRIPTOR.services_by_name["OrdersService"], orders.RULES),
    (payments_pb2.DESCRIPTOR.services_by_name["PaymentsService"], payments.RULES),
    (payouts_pb2.DESCRIPTOR.services_by_name["PayoutsService"], payouts.RULES),
    (shop_pb2.DESCRIPTOR.services_by_name["ShopService"], shop.RULES),
    (system_pb2.DESCRIPTOR.services_by_name["SystemService"], system.RULES),
]
ANN, BEN = new_id(), new_id()


def identity(user_id: str, role: str = "user") -> Identity:
    return Identity(user_id, frozenset({role}), 0)


@pytest.mark.parametrize(("service", "rules"), TABLES, ids=[service.name for service, _ in TABLES])
def test_each_rpc_has_a_rule(service: ServiceDescriptor, rules: dict[str, Rule]) -> None:
    assert rules.keys() == set(service.methods_by_name)


@pytest.mark.parametrize(("service", "rules"), TABLES, ids=[service.name for service, _ in TABLES])
def test_a_request_that_names_a_user_is_for_that_user_or_for_admins(
    service: ServiceDescriptor, rules: dict[str, Rule]
) -> None:
    for method in service.methods:
        if rules[method.name] == access.ADMIN:
            continue
        names_user = "user_id" in method.input_type.fields_by_name
        assert rules[method.name].owner == ("user_id" if names_user else ""), method.name
        refusal = rules[method.name].not_yours
        assert (refusal is not None and issubclass(refusal, NotFound)) == names_user


def test_only_who_wants_no_identity_is_public() -> None:
    rules = {f"{service.name}.{name}": rule for service, table in TABLES for name, rule in table.items()}
    public = {name for name, rule in rules.items() if not rule.needs_token}
    assert public == {f"UsersService.{name}" for name in ("Register", "Token", "RevokeToken", "GetJwks")}


def test_the_owner_and_an_admin_pass_and_others_learn_nothing() -> None:
    rule, request = access.owner("user_id", UserNotFound), GetAccountRequest(user_id=ANN.upper())
    rule.check(identity(ANN), request)
    rule.check(identity(BEN, "admin"), request)
    with pytest.raises(UserNotFound):
        rule.check(identity(BEN), request)


def test_the_things_of_all_users_are_for_admins() -> None:
    rule, request = access.owner("user_id", UserNotFound), GetAccountRequest(user_id=access.ALL_USERS)
    rule.check(identity(BEN, "admin"), request)
    with pytest.raises(UserNotFound):
        rule.check(identity(ANN), request)


def test_what_is_for_admins_is_refused_to_others() -> None:
    access.ADMIN.check(identity(ANN, "admin"), GetAccountRequest())
    with pytest.raises(PermissionDenied):
        access.ADMIN.check(identity(ANN), GetAccountRequest())


def test_what_is_for_workers_is_refused_to_admins_and_the_other_way_round() -> None:
    access.WORKER.check(identity(ANN, "worker"), GetAccountRequest())
    for role in ("user", "admin"):
        with pytest.raises(WorkerOnly):
            access.WORKER.check(identity(ANN, role), GetAccountRequest())
    with pytest.raises(PermissionDenied) as caught:
        access.ADMIN.check(identity(ANN, "worker"), GetAccountRequest())
    assert caught.value.reason == "ADMIN_ONLY"
    assert not identity(ANN, "worker").may_act_for(BEN)


def test_who_names_nobody_means_himself() -> None:
    rule = access.owner("user_id", UserNotFound)
    rule.check(identity(ANN), ListPayoutsRequest())
    with pytest.raises(UserNotFound):
        rule.check(identity(ANN), ListPayoutsRequest(user_id=BEN))
