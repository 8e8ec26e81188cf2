"""An origin that answers as object storage does: strong ETags, the rest of a file for who asks, and cuts."""

import re

from origin import PNG, Origin, head

FILE = PNG + bytes(range(251)) * 25_000  # 6 MiB, no two pieces alike
OTHER = PNG + bytes(range(1, 252)) * 25_000
ETAG = '"abc-5"'
CUT = 2_500_000


class Storage:
    """Answers as object storage does: `ranges` are the first bytes it was asked for, `served` how many it sent."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.ranges: list[int] = []
        self.served: list[int] = []

    def answer(self, content=FILE, *, etag=ETAG, cut=None, end=None, obedient=True, **changed):
        """Send `content` from where it is asked for, up to `cut`; then close, or do as `end` says."""

        async def answer(writer):
            asked = self.header("Range")
            begin = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and obedient else 0
            self.ranges.append(begin)
            if self.header("If-Range") not in (None, etag) and "Content_Range" not in changed:
                begin = 0
            headers = {"ETag": etag, "Content_Length": len(content) - begin}
            if begin:
                headers["Content_Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
            body = content[begin:cut]
            self.served.append(len(body))
            headers = {name: value for name, value in {**headers, **changed}.items() if value is not None}
            writer.write(head(206 if begin else 200, **headers) + body)
            await writer.drain()
            if end is not None:
                await end(writer)

        return answer

    def header(self, name):
        found = re.search(rf"\r\n{name}: ([^\r]*)", self.origin.head)
        return found and found[1]
