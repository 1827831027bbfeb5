"""A crawler: each page once, ten requests at a time, three attempts at each, a minute in all."""

import re

import anyio
import httpx
import loopback
import stamina


@stamina.retry(on=httpx.HTTPError, attempts=3, wait_initial=0.01)
async def fetch(client: httpx.AsyncClient, path: str) -> str:
    response = await client.get(path)
    return response.raise_for_status().text


async def crawl(base: str) -> set[str]:
    seen = {"/"}
    limiter = anyio.CapacityLimiter(10)

    async def visit(path: str) -> None:
        try:
            async with limiter:
                text = await fetch(client, path)
        except Exception as error:
            print(error)
            return
        for link in set(re.findall('href="(.*?)"', text)) - seen:
            seen.add(link)
            group.start_soon(visit, link)

    with anyio.move_on_after(60):
        async with (
            httpx.AsyncClient(base_url=base) as client,
            anyio.create_task_group() as group,
        ):
            group.start_soon(visit, "/")
    return seen


if __name__ == "__main__":
    with loopback.site(at_once=10) as base:
        print(len(anyio.run(crawl, base)), "pages")
