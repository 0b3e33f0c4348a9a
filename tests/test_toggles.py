"""Undo and redo as pure functions."""

from __future__ import annotations

from xai_widgets.widgets import toggles


def test_undo_and_redo_walk_through_the_states():
    history = toggles.push(toggles.push(toggles.start(), [3]), [3, 4])
    assert toggles.present(history) == [3, 4]
    history = toggles.step(history, -1)
    assert toggles.present(history) == [3]
    assert toggles.present(toggles.step(history, +1)) == [3, 4]


def test_walking_past_either_end_stays_there():
    history = toggles.push(toggles.start(), [1])
    assert toggles.present(toggles.step(history, -7)) == []
    assert toggles.present(toggles.step(history, +7)) == [1]


def test_a_new_state_forgets_what_was_undone():
    history = toggles.step(toggles.push(toggles.push(toggles.start(), [1]), [1, 2]), -1)
    history = toggles.push(history, [1, 5])
    assert history["states"] == [[], [1], [1, 5]]


def test_the_value_is_replaced_and_never_changed():
    first = toggles.start()
    toggles.push(first, [1])
    assert first == {"states": [[]], "at": 0}


def test_fifty_steps_can_be_taken_back_and_no_more_are_kept():
    history = toggles.start()
    for i in range(80):
        history = toggles.push(history, [i])
    assert len(history["states"]) == toggles.LIMIT
    assert toggles.present(toggles.step(history, -50)) == [29]
