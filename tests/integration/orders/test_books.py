"""The audit of the books is what the fault tests rest on: it must see every kind of discrepancy."""

import pytest


@pytest.mark.parametrize("database, damage, repair", [
    ("inventory", "UPDATE stock SET quantity = quantity - 1 WHERE sku = 'lamp'",
     "UPDATE stock SET quantity = quantity + 1 WHERE sku = 'lamp'"),
    ("orders", "UPDATE customer_balance SET balance = balance + 1 WHERE customer = 'ada'",
     "UPDATE customer_balance SET balance = balance - 1 WHERE customer = 'ada'"),
    ("orders", "INSERT INTO customer_order VALUES ('forged', 'ada', 'lamp', 1, 10)",
     "DELETE FROM customer_order WHERE id = 'forged'"),
])
def test_the_audit_sees_a_discrepancy(shop, database, damage, repair):
    """One unit, one coin, one order too many or too few: each is reported."""
    shop.wait_until_settled()
    assert shop.imbalances() == []
    shop.postgres.execute(database, damage)
    try:
        assert shop.imbalances() != []
    finally:
        shop.postgres.execute(database, repair)


def test_the_audit_sees_what_a_client_was_told_wrongly(shop, new_order):
    """An order told committed that is not there, and one that is there and was not told committed."""
    order = new_order()
    assert shop.submit(order) == "committed"
    shop.wait_until_settled()
    placed = set(shop.orders_placed())
    assert shop.imbalances(placed) == []
    assert len(shop.imbalances(placed | {"never-placed"})) == 1
    assert len(shop.imbalances(placed - {order.order_id})) == 1
