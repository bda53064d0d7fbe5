"""In-order delivery of results that arrive in any order."""

from __future__ import annotations

import gc
import itertools
import random
import threading
import weakref
from functools import partial

import pytest

from fasdk.ordering import InOrder


def settle_all(order, places, permutation, delivered):
    for number in permutation:
        order.settle(places[number], lambda number=number: delivered.append(number))


@pytest.mark.parametrize("permutation", list(itertools.permutations(range(4))))
def test_deliveries_run_in_the_order_of_places_however_they_are_settled(permutation):
    order, delivered = InOrder(), []
    places = [order.take_place() for _ in permutation]
    settle_all(order, places, permutation, delivered)
    assert delivered == [0, 1, 2, 3]
    assert order.is_empty


def test_a_place_is_delivered_as_soon_as_all_before_it_are():
    order, delivered = InOrder(), []
    places = [order.take_place() for _ in range(3)]
    settle_all(order, places, [2, 0], delivered)
    assert delivered == [0]
    assert [place.is_settled for place in places] == [True, False, True]
    assert not order.is_empty
    settle_all(order, places, [1], delivered)
    assert delivered == [0, 1, 2]


def test_only_the_first_settlement_of_a_place_counts():
    order, delivered = InOrder(), []
    first, second = order.take_place(), order.take_place()
    order.settle(second, lambda: delivered.append("second"))
    order.settle(second, lambda: delivered.append("second again"))
    order.settle(first, lambda: delivered.append("first"))
    order.settle(first, lambda: delivered.append("first again"))
    assert delivered == ["first", "second"]


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_a_delivery_that_raises_holds_nobody_up(error):
    order, delivered = InOrder(), []
    first, second = order.take_place(), order.take_place()

    def fail():
        raise error

    order.settle(second, lambda: delivered.append("second"))
    order.settle(first, fail)
    assert delivered == ["second"]
    third = order.take_place()
    order.settle(third, lambda: delivered.append("third"))
    assert delivered == ["second", "third"]


def test_a_delivery_may_take_and_settle_places_whose_turn_comes_after_it():
    order, delivered = InOrder(), []

    def deliver():
        inner = order.take_place()
        order.settle(inner, lambda: delivered.append("inner"))
        delivered.append("outer")

    order.settle(order.take_place(), deliver)
    assert delivered == ["outer", "inner"]


def test_nothing_of_a_delivery_is_kept():
    class Held:
        pass

    order, held = InOrder(), Held()
    place, gone = order.take_place(), weakref.ref(held)
    order.settle(place, partial(id, held))
    del held
    gc.collect()
    assert gone() is None
    assert place.is_settled


def test_threads_that_settle_at_once_deliver_one_at_a_time_and_in_order():
    order, delivered, inside = InOrder(), [], threading.Lock()
    places = [order.take_place() for _ in range(400)]
    numbers = list(range(400))
    random.Random(3).shuffle(numbers)  # noqa: S311 - an order, no secret
    start = threading.Barrier(8)

    def deliver(number):
        assert inside.acquire(blocking=False)  # else it would not be appended
        delivered.append(number)
        inside.release()

    def settle(own):
        start.wait(10)
        for number in own:
            order.settle(places[number], lambda number=number: deliver(number))

    threads = [threading.Thread(target=settle, args=(numbers[i::8],)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert delivered == sorted(numbers)
