"""Ctrl-C waits for the end of a compilation."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from gopark import pause


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_waits_for_the_end_of_the_outermost_block():
    reached = []
    with pytest.raises(KeyboardInterrupt):
        with pause.interrupts_deferred():
            with pause.interrupts_deferred():
                press()
                reached.append(1)
            reached.append(2)
    assert reached == [1, 2]
    with pytest.raises(KeyboardInterrupt):
        press()


def test_an_error_in_the_block_is_the_interrupts_context():
    with pytest.raises(KeyboardInterrupt) as raised:
        with pause.interrupts_deferred():
            press()
            raise ValueError
    assert isinstance(raised.value.__context__, ValueError)


def test_a_place_where_the_work_may_be_given_up():
    with pytest.raises(KeyboardInterrupt):
        with pause.interrupts_deferred():
            pause.interrupt_now()
            press()
            pause.interrupt_now()
            raise AssertionError
    with pause.interrupts_deferred():
        pass  # it came once


def test_a_handler_of_the_program_is_called():
    came = []
    before = signal.signal(signal.SIGINT, lambda *arguments: came.append(arguments))
    try:
        with pause.interrupts_deferred():
            press()
            assert not came
        assert len(came) == 1 and came[0][0] == signal.SIGINT
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_and_other_handlers_are_left_alone():
    def elsewhere():
        with pause.interrupts_deferred():
            found.append(signal.getsignal(signal.SIGINT))

    found = []
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        elsewhere()
    finally:
        signal.signal(signal.SIGINT, before)
    assert found == [before, signal.SIG_IGN]
