"""Hedged requests: the next mirror is asked when one is slow or fails; the first answer counts."""

from functools import partial

import httpx
import loopback

import aionursery
from aionursery import MultiError, race


async def get(client: httpx.AsyncClient, url: str) -> str:
    response = await client.get(url)
    return response.raise_for_status().text


async def hedged(client: httpx.AsyncClient, urls: list[str]) -> str:
    return await race([partial(get, client, url) for url in urls], stagger=0.05)


async def main(good: list[str], bad: list[str]) -> None:
    async with httpx.AsyncClient(timeout=30) as client:
        print(await hedged(client, good))
        try:
            await hedged(client, bad)
        except MultiError as errors:
            print(f"no mirror answers: {len(errors)} errors")


if __name__ == "__main__":
    with loopback.mirrors("slow", "broken", "good") as good:
        with loopback.mirrors("broken", "broken") as bad:
            aionursery.run(main(good, bad))
