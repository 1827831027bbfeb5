"""A text message that fails does not stop the payment beside it, and the block waits for it."""

import asyncio

import loops

from aionursery import MultiError, Nursery


async def perform_payment() -> None:
    print("payment: begun")
    await asyncio.sleep(0.1)
    print("payment: done")


async def send_sms() -> None:
    await asyncio.sleep(0.02)
    raise ConnectionError("no signal")


async def parent() -> None:
    try:
        async with Nursery() as nursery:
            nursery.start_soon(asyncio.shield(perform_payment()))
            nursery.start_soon(send_sms())
    except MultiError as errors:
        for error in errors:
            print(f"parent: {error!r}")
    print("parent: the block has ended, and with it the payment")


loops.run(parent)
