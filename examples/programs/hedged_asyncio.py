"""Hedged requests: the next mirror is asked when one is slow or fails; the first answer counts."""

import asyncio

import httpx
import loopback


async def get(client: httpx.AsyncClient, url: str) -> str:
    response = await client.get(url)
    return response.raise_for_status().text


async def hedged(client: httpx.AsyncClient, urls: list[str]) -> str:
    running: set[asyncio.Task[str]] = set()
    left = list(urls)
    errors: list[BaseException] = []
    try:
        while left or running:
            if left:
                running.add(asyncio.create_task(get(client, left.pop(0))))
            timeout = 0.05 if left else None
            ended, running = await asyncio.wait(
                running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
            )
            for task in ended:
                error = task.exception()
                if error is None:
                    return task.result()
                errors.append(error)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    raise BaseExceptionGroup("no mirror answers", errors)


async def main(good: list[str], bad: list[str]) -> None:
    async with httpx.AsyncClient(timeout=30) as client:
        print(await hedged(client, good))
        try:
            await hedged(client, bad)
        except ExceptionGroup as errors:
            print(f"no mirror answers: {len(errors.exceptions)} errors")


if __name__ == "__main__":
    with loopback.mirrors("slow", "broken", "good") as good:
        with loopback.mirrors("broken", "broken") as bad:
            asyncio.run(main(good, bad))
