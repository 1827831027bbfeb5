"""A crawler: each page once, ten requests at a time, three attempts at each, a minute in all."""

import asyncio
import re

import httpx
import loopback
import stamina


@stamina.retry(on=httpx.HTTPError, attempts=3, wait_initial=0.01)
async def fetch(client: httpx.AsyncClient, path: str) -> str:
    response = await client.get(path)
    return response.raise_for_status().text


async def crawl(base: str) -> set[str]:
    seen = {"/"}
    limiter = asyncio.Semaphore(10)

    async def visit(path: str) -> None:
        try:
            async with limiter:
                text = await fetch(client, path)
        except Exception as error:
            print(error)
            return
        for link in set(re.findall('href="(.*?)"', text)) - seen:
            seen.add(link)
            group.create_task(visit(link))

    try:
        async with (
            asyncio.timeout(60),
            httpx.AsyncClient(base_url=base) as client,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(visit("/"))
    except TimeoutError:
        pass
    return seen


if __name__ == "__main__":
    with loopback.site(at_once=10) as base:
        print(len(asyncio.run(crawl(base))), "pages")
