"""What readings mean."""

from math import inf, nan

from gozon.system.v1.system_pb2 import Backlog, Consumer
from services.system import view
from services.system.scraper import Reading, Samples

LAG = "bus_consumer_lag"


def test_what_could_not_be_measured_is_not_set_and_one_instance_that_knows_is_enough() -> None:
    readings = [
        Reading("orders", "a", {"outbox_age_seconds": [({}, nan)], LAG: [({"consumer": "x"}, nan)]}),
        Reading("orders", "b", {"outbox_age_seconds": [({}, 2.5)], "dead_letters": [({}, nan)]}),
        Reading("push", "c", {LAG: [({"consumer": "x"}, 4), ({"consumer": "a"}, nan)]}),
        Reading("payments", "d"),
    ]

    assert list(view.backlogs(readings, ["orders", "payments"])) == [
        Backlog(service="orders", outbox_age_seconds=2.5),
        Backlog(service="payments"),
    ]
    assert list(view.consumers(readings)) == [Consumer(name="a"), Consumer(name="x", lag=4)]


def test_orders_are_counted_and_what_took_too_long_for_the_last_bucket_too() -> None:
    samples: Samples = {
        "orders_created_total": [({}, 12.0)],
        "orders_changed_total": [({"status": "PAID"}, 8), ({"status": "CANCELED"}, 1)],
        "order_settle_seconds_bucket": [({"le": "0.5"}, 7), ({"le": "0.01"}, 2), ({"le": str(inf)}, 9)],
    }

    [process] = view.processes([Reading("orders", "a", samples)])

    counts = process.orders
    assert (counts.created, counts.paid, counts.canceled, counts.shipped, counts.timed) == (12, 8, 1, 0, 9)
    assert [(each.seconds, each.orders) for each in counts.timed_within] == [(0.01, 2), (0.5, 7)]
