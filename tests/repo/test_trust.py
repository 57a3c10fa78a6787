"""docs/trust.md counts the attacks that there are."""

from __future__ import annotations

from tests.hostile.__main__ import PAGE, kinds, page


def test_the_list_of_attacks_is_true() -> None:
    """`python -m tests.hostile` writes it."""
    text = PAGE.read_text()
    assert page(text) == text


def test_every_attack_says_what_is_tried() -> None:
    for kind in kinds():
        assert kind.words
        for attack in kind.attacks:
            assert attack.words, attack.name
