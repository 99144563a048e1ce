"""Passwords cannot be tried by the hundred: by account, by address and by both, all at once or one after another."""

from __future__ import annotations

import asyncio

import pytest
from starlette.exceptions import HTTPException

from ui.web.security import login
from ui.web.security.login import ACCOUNT, ADDRESS, BOTH, PERIOD, Attempts, address, guard, network

RIGHT = "correct horse"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "SLOW", 0.0)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def answer(check, user: str, password: str, source: str = "192.0.2.1") -> bool | int:
    async def ask() -> bool:
        address.set(source)
        return await check(user, password)

    try:
        return asyncio.run(ask())
    except HTTPException as error:
        return error.status_code if int(error.headers["Retry-After"]) > 0 else 0


def test_after_a_few_wrong_ones_even_the_right_one_waits_its_time() -> None:
    clock = Clock()
    check = guard({"bob": RIGHT}, Attempts(clock))
    assert [answer(check, "bob", f"wrong {i}") for i in range(BOTH)] == [False] * BOTH
    assert answer(check, "bob", "wrong") == answer(check, "bob", RIGHT) == 429
    assert answer(check, "bob", RIGHT, "192.0.2.2") is True  # an address does not lock an account for others
    clock.now += PERIOD
    assert answer(check, "bob", RIGHT) is True


def test_right_ones_do_not_count() -> None:
    check = guard({"bob": RIGHT})
    assert [answer(check, "bob", RIGHT) for _ in range(3 * ADDRESS)] == [True] * 3 * ADDRESS


def test_an_address_tries_few_accounts_and_an_account_is_tried_by_few_addresses() -> None:
    check = guard({"bob": RIGHT})
    tried = [answer(check, f"name {i}", "wrong") for i in range(ADDRESS + 5)]
    assert tried == [False] * ADDRESS + [429] * 5
    check = guard({"bob": RIGHT})
    tried = [answer(check, "bob", "wrong", f"192.0.2.{i}") for i in range(ACCOUNT + 5)]
    assert tried == [False] * ACCOUNT + [429] * 5


def test_many_at_once_are_counted_before_any_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "SLOW", 0.01)
    check = guard({"bob": RIGHT})

    async def all_at_once() -> list[object]:
        return await asyncio.gather(*(check("bob", f"wrong {i}") for i in range(300)), return_exceptions=True)

    answers = asyncio.run(all_at_once())
    assert answers.count(False) == BOTH
    assert sum(isinstance(one, HTTPException) and one.status_code == 429 for one in answers) == 300 - BOTH


def test_addresses_of_one_subscriber_are_one() -> None:
    assert network("2001:db8:1:2:3:4:5:6") == network("2001:db8:1:2::1") != network("2001:db8:1:3::1")
    assert network("192.0.2.1") != network("192.0.2.2")
    assert network("") == ""
