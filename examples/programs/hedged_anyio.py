"""Hedged requests: the next mirror is asked when one is slow or fails; the first answer counts."""

import anyio
import httpx
import loopback


async def get(client: httpx.AsyncClient, url: str) -> str:
    response = await client.get(url)
    return response.raise_for_status().text


async def hedged(client: httpx.AsyncClient, urls: list[str]) -> str:
    answers: list[str] = []
    errors: list[Exception] = []

    async def ask(url: str, failed: anyio.Event) -> None:
        try:
            answers.append(await get(client, url))
        except Exception as error:
            errors.append(error)
            failed.set()
        else:
            group.cancel("there is an answer")

    async with anyio.create_task_group() as group:
        for url in urls:
            failed = anyio.Event()
            group.start_soon(ask, url, failed)
            with anyio.move_on_after(0.05):
                await failed.wait()
    if not answers:
        raise ExceptionGroup("no mirror answers", errors)
    return answers[0]


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
            anyio.run(main, good, bad)
